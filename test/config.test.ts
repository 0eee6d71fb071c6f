import { tmpdir } from 'node:os'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { carriesPassword, publicCommandLine } from '../src/config/argv.ts'
import { parseConflicts } from '../src/config/conflicts.ts'
import { parseFollowName, parsePublications, parseSlotName, parseTables } from '../src/config/names.ts'
import { readFollowEnds, readStartSettings } from '../src/config/settings.ts'
import { parseWebAddress } from '../src/config/web-address.ts'
import { FollowerError } from '../src/errors.ts'

const ends = { upstream: 'postgres://app@db1/shop', downstream: 'postgres://app@db2/shop' }
const env = { HOME: '/nonexistent' }

function failure(options: Record<string, unknown>, environment: Record<string, string> = env): FollowerError {
  try {
    readStartSettings(options, environment)
  } catch (error) {
    if (error instanceof FollowerError) return error
    throw error
  }
  throw new Error('accepted')
}

describe('names', () => {
  test('a name leaves room for the publication of insert-only tables', () => {
    expect(parseFollowName('a'.repeat(51))).toHaveLength(51)
    expect(() => parseFollowName('a'.repeat(52))).toThrow('at most 51')
    expect(() => parseFollowName('My-Shop')).toThrow('did you mean my_shop?')
    expect(() => parseFollowName('')).toThrow('lower-case letters')
    expect(parseSlotName('a'.repeat(63))).toHaveLength(63)
    for (const wrong of ['a'.repeat(64), 'A', 'a b', ''])
      expect(() => parseSlotName(wrong)).toThrow('1 to 63')
  })

  test('tables: what is not quoted is folded, what is quoted stays', () => {
    expect(parseTables('public.Orders, "A b".c ,"x,y".*,audit . *')).toEqual([
      { schema: 'public', table: 'orders' },
      { schema: 'A b', table: 'c' },
      { schema: 'x,y', table: '*' },
      { schema: 'audit', table: '*' },
    ])
    expect(parseTables('"say ""hi""".größe')).toEqual([{ schema: 'say "hi"', table: 'größe' }])
  })

  test('any two names survive quoting', () => {
    // The signs that mean something, often.
    const unit = fc.oneof(
      fc.constantFrom('"', '.', ',', '*', ' ', 'a', 'B'),
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
    )
    const name = fc
      .string({ unit, minLength: 1, maxLength: 20 })
      .filter((text) => Buffer.byteLength(text) <= 63 && text !== '*' && !text.includes('\0'))
    const quote = (text: string) => `"${text.replaceAll('"', '""')}"`
    fc.assert(
      fc.property(
        fc.array(fc.record({ schema: name, table: name }), { minLength: 1, maxLength: 4 }),
        (list) => {
          const text = list.map(({ schema, table }) => `${quote(schema)}.${quote(table)}`).join(',')
          expect(parseTables(text)).toEqual(list)
        },
      ),
    )
  })

  test('tables: what cannot be meant is refused with its place', () => {
    expect(() => parseTables('orders')).toThrow('write public.orders')
    expect(() => parseTables('a.b c.d')).toThrow('a comma is expected at c.d')
    expect(() => parseTables('a.b,')).toThrow('a name is expected after a.b,')
    expect(() => parseTables('a."b')).toThrow('a name is expected at "b')
    expect(() => parseTables('a."*"')).toThrow('named *')
    expect(() => parseTables(`a.${'x'.repeat(64)}`)).toThrow('longer than 63 bytes')
    expect(() => parseTables('')).toThrow('a name is expected')
    expect(parsePublications('a, "B,c"')).toEqual(['a', 'B,c'])
  })

  test('conflicts: each has its resolutions', () => {
    expect(parseConflicts('insert_exists=skip, update_missing=overwrite')).toEqual({
      insert_exists: 'skip',
      update_missing: 'overwrite',
      delete_missing: 'skip',
    })
    expect(() => parseConflicts('insert_exist=skip')).toThrow('did you mean insert_exists?')
    expect(parseConflicts('delete_missing=halt').delete_missing).toBe('halt')
    expect(() => parseConflicts('delete_missing=apply')).toThrow('there are halt, skip, overwrite')
    expect(() => parseConflicts('insert_exists')).toThrow('nothing is no resolution')
  })

  test('web addresses', () => {
    expect(parseWebAddress('0.0.0.0:80')).toEqual({ host: '0.0.0.0', port: 80, chosen: true })
    expect(parseWebAddress('[::1]:0')).toEqual({ host: '::1', port: 0, chosen: true })
    expect(parseWebAddress('off')).toBe('off')
    for (const wrong of ['9577', ':9577', 'h:', 'h:65536', '::1:9577', 'h:1x'])
      expect(() => parseWebAddress(wrong)).toThrow('is no address')
  })
})

describe('settings', () => {
  test('defaults', () => {
    const { follow, daemon } = readStartSettings(ends, env)
    expect(follow).toMatchObject({
      name: 'follower',
      slot: 'follower',
      slotGiven: false,
      publications: [],
      applicationName: 'follower/follower',
      tables: [],
      ddl: true,
      until: undefined,
      copy: undefined,
      noIdentity: 'refuse',
      onConflict: { insert_exists: 'halt', update_missing: 'halt', delete_missing: 'skip' },
      onRewrite: 'halt',
      synchronousCommit: true,
      wait: true,
      acceptNewUpstream: false,
      plugin: 'pgoutput',
      nanAsNull: false,
      binary: true,
      memory: { queue: 16_777_216, open: 33_554_432 },
      spill: { directory: tmpdir(), limit: Number.POSITIVE_INFINITY },
    })
    expect([follow.upstream.host, follow.downstream.host]).toEqual(['db1', 'db2'])
    expect(daemon).toEqual({
      logLevel: 'info',
      logFormat: 'auto',
      web: { host: '127.0.0.1', port: 9577, chosen: false },
    })
  })

  test('every option', () => {
    const { follow, daemon } = readStartSettings(
      {
        ...ends,
        name: 'shop',
        slot: 'mine',
        publication: ['a,b', 'c'],
        applicationName: 'x',
        tables: ['a.b', 'c.*'],
        ddl: 'off',
        until: '16/B374D848',
        copy: 'none',
        identity: 'insert-only',
        onConflict: ['insert_exists=skip', 'delete_missing=overwrite'],
        onRewrite: 'replay',
        synchronousCommit: 'off',
        binary: 'off',
        wait: false,
        acceptNewUpstream: true,
        spillDirectory: '/var/spill',
        memoryLimit: '16MB',
        spillLimit: '1.5 GB',
        logLevel: 'debug',
        logFormat: 'json',
        webListen: 'off',
      },
      env,
    )
    expect(follow).toMatchObject({
      name: 'shop',
      slot: 'mine',
      slotGiven: true,
      publications: ['a', 'b', 'c'],
      applicationName: 'x',
      ddl: false,
      until: 0x16b374d848n,
      copy: 'none',
      noIdentity: 'insert-only',
      onConflict: { insert_exists: 'skip', update_missing: 'halt', delete_missing: 'overwrite' },
      onRewrite: 'replay',
      synchronousCommit: false,
      binary: false,
      wait: false,
      acceptNewUpstream: true,
      memory: {
        queue: 2_097_152,
        open: 4_194_304,
        batch: 1_048_576,
        unwritten: 1_048_576,
      },
      spill: { directory: '/var/spill', limit: 1_610_612_736 },
    })
    expect(follow.tables).toHaveLength(2)
    expect(daemon).toEqual({ logLevel: 'debug', logFormat: 'json', web: 'off' })
  })

  test('what does not fit into memory waits where systemd has made a place for it, or among temporary files', () => {
    const directory = (more: Record<string, string>) =>
      readStartSettings(ends, { ...env, ...more }).follow.spill.directory
    expect(directory({ TMPDIR: '/big' })).toBe('/big')
    expect(directory({ TMPDIR: '/big', CACHE_DIRECTORY: '/var/cache/follower:/other' })).toBe(
      '/var/cache/follower',
    )
    for (const text of ['', '10', '10 gb', '-1GB', '1e3MB', 'all'])
      expect(() => readStartSettings({ ...ends, spillLimit: text }, env), text).toThrow('--spill-limit')
    expect(() => readStartSettings({ ...ends, memoryLimit: '15MB' }, env)).toThrow('16MB, the least')
    expect(readStartSettings({ ...ends, spillLimit: '0B' }, env).follow.spill.limit).toBe(0)
  })

  test('flags before the environment before defaults', () => {
    const environment = {
      ...env,
      FOLLOWER_UPSTREAM: 'postgres://app@env1/shop',
      FOLLOWER_DOWNSTREAM: 'postgres://app@env2/shop',
      FOLLOWER_LOG_LEVEL: 'warn',
      FOLLOWER_WEB_LISTEN: '127.0.0.1:1',
    }
    const { follow, daemon } = readStartSettings({ upstream: ends.upstream, logLevel: 'error' }, environment)
    expect([follow.upstream.host, follow.downstream.host, daemon.logLevel]).toEqual(['db1', 'env2', 'error'])
    expect(daemon.web).toMatchObject({ port: 1, chosen: true })
    expect(readFollowEnds({}, environment).upstream.host).toBe('env1')
  })

  test('a missing end, named', () => {
    expect(failure({})).toMatchObject({
      code: 'FLW-011',
      exit: 2,
      message: '--upstream and --downstream missing',
    })
    expect(failure({ upstream: 'host=a', downstream: '' }).message).toBe('--downstream missing')
  })

  test('every wrong value at once, with suggestions', () => {
    expect(failure({ ...ends, onRewrite: 'reply' })).toMatchObject({
      code: 'FLW-012',
      exit: 2,
      message: '--on-rewrite: reply is no mode; there are halt, replay; did you mean replay?',
    })
    const error = failure({ ...ends, identity: 'none', ddl: 'yes', until: 'later', name: 'A', tables: ['x'] })
    for (const flag of ['--no-identity', '--ddl', '--until', '--name', '--tables'])
      expect(error.detail).toContain(`${flag}: `)
  })

  test('a copy: its options, and what goes without it', () => {
    const { follow } = readStartSettings(
      {
        ...ends,
        copy: 'all',
        copyJobs: '3',
        copySplit: '1 GB',
        overwrite: true,
        owner: false,
        pgDump: '/x/pg_dump',
      },
      env,
    )
    expect(follow).toMatchObject({
      copy: 'all',
      copying: {
        jobs: 3,
        splitBytes: 2 ** 30,
        overwrite: true,
        owner: false,
        privileges: true,
        pgDump: '/x/pg_dump',
      },
    })
    for (const more of [{ tables: ['a.b'] }, { publication: ['p'] }])
      expect(failure({ ...ends, copy: 'all', ...more })).toMatchObject({ code: 'FLW-013', exit: 2 })
    expect(failure({ ...ends, copy: 'data', plugin: 'wal2json' })).toMatchObject({ code: 'FLW-030', exit: 2 })
    for (const wrong of [{ copy: 'some' }, { copyJobs: '0' }, { copySplit: '1kB' }])
      expect(failure({ ...ends, ...wrong })).toMatchObject({ code: 'FLW-012', exit: 2 })
  })

  test('a wrong conninfo is an error without its password', () => {
    const error = failure({ ...ends, upstream: 'postgres://app:hunter2hunter2@db1:port/shop' })
    expect(error.exit).toBe(3)
    expect(JSON.stringify(error)).not.toContain('hunter2hunter2')
  })
})

test('what ps shows has no password', () => {
  for (const conninfo of [
    'postgres://app:hunter2@db1/shop',
    'postgresql://app:hun%20ter2@db1/shop',
    'postgres://db1/shop?user=app&password=hunter2',
    'host=db1 password = hunter2',
    "host=db1 PASSWORD='hun ter2'",
    'host=db1 sslpassword=hunter2',
  ]) {
    expect(carriesPassword(conninfo)).toBe(true)
    for (const args of [
      ['start', '--upstream', conninfo],
      ['start', `--upstream=${conninfo}`],
    ])
      expect(publicCommandLine(args)).not.toMatch(/ter2/)
  }
  const open = ['start', '--upstream', 'postgres://app@db1:5432/shop?passfile=/etc/pgpass', '--name', 'shop']
  expect(carriesPassword('postgres://app@db1:5432/shop')).toBe(false)
  expect(publicCommandLine(open)).toContain('--name shop')
})
