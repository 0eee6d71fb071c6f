import { describe, expect, test } from 'vitest'
import { incidentLine, incidentText } from '../src/commands/incident-text.ts'
import { statusText } from '../src/commands/status-text.ts'
import { ExitCode, FollowerError, formatError } from '../src/errors.ts'
import { printable, printableLines } from '../src/model/printable.ts'
import type { Incident } from '../src/provision/incidents.ts'
import type { FollowStatus } from '../src/provision/state.ts'
import { createLogger } from '../src/telemetry/log.ts'

/** A table's name that clears the screen, as both forms of the sequence do, begins a line of its own, and turns what follows round. */
const name = 'public.a\u001b[2J\u009b2J\nerror\u2028\u202e\u0000'
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
const obeyed = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e]/

test('what a terminal obeys is shown as ?, all else as it is', () => {
  expect(printable(name)).toBe('public.a?[2J?2J?error???')
  expect(printableLines(`a\tü€😀\n${name}`)).toBe('a\tü€😀\npublic.a?[2J?2J\nerror???')
})

describe('names of tables move no cursor', () => {
  test('in an error', () => {
    const options = {
      code: 'FLW-301',
      exit: ExitCode.apply,
      detail: name,
      effect: name,
      fix: [name],
    } as const
    const text = formatError(new FollowerError(`table ${name} does not exist`, options))
    expect(text).not.toMatch(obeyed)
    expect(text).toContain('table public.a?[2J?2J')
  })

  const incident: Incident = {
    ...{
      id: '1',
      lsn: '0/1',
      xid: '7',
      relation: name,
      key: name,
      code: 'FLW-301',
      message: name,
      detail: name,
    },
    ...{
      sqlstate: null,
      row: null,
      attempts: 1,
      firstAt: 'then',
      lastAt: 'now',
      resolution: null,
      resolvedAt: null,
    },
  } as unknown as Incident

  test('in an incident', () => {
    for (const text of [incidentText(incident), incidentLine(incident)]) {
      expect(text).not.toMatch(obeyed)
      expect(text).toContain('public.a?[2J?2J')
    }
    expect(incidentLine(incident)).not.toContain('\n')
  })

  test('in what status shows', () => {
    const inWork = Array.from({ length: 23 }, () => ({ table: name, rows: 1, bytes: 2, expectedBytes: 3 }))
    const status = {
      ...{ name, state: 'copying', slot: null, progress: null, lagBytes: null, incident, skips: [] },
      upstream: {
        database: name,
        version: '18',
        lsn: null,
        publications: [name],
        tables: 1,
        unpublished: [name],
      },
      downstream: { database: name, version: '18', holder: null },
      copy: {
        tables: { copied: 1, behind: 1, total: 24 },
        ...{ rows: 1, bytes: 1, expectedBytes: 2, secondsLeft: null, inWork, steps: [] },
      },
    } as unknown as FollowStatus
    const lines = statusText(status).split('\n')
    // Whether or not there are colours.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are made of them
    for (const line of lines) expect(line.replaceAll(/\x1b\[\d+m/g, '')).not.toMatch(obeyed)
    expect(lines[0]).toContain('public.a?[2J?2J?error???')
    expect(lines.filter((line) => /^ +public\.a\?.* {3}1 rows/.test(line))).toHaveLength(20)
    expect(lines.some((line) => /^ +and 3 more$/.test(line))).toBe(true)
    expect(lines.some((line) => /^copy +1 of 24 tables \(1 behind\) /.test(line))).toBe(true)
  })

  test('in the log for people', () => {
    let text = ''
    const screen = {
      write: (part: string) => {
        text += part
      },
    }
    const log = createLogger({ level: 'info', format: 'pretty', screen })
    log.info({ table: name, tables: [name] }, `table ${name} copied`)
    log.error(
      { err: new FollowerError(`table ${name}`, { code: 'FLW-301', exit: ExitCode.apply, detail: name }) },
      'stops',
    )
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are made of them
    expect(text.replaceAll(/\x1b\[\d+m/g, '')).not.toMatch(obeyed)
    expect(text).toContain('table public.a?[2J?2J?error??? copied')
    expect(text.match(/^error/m)).toBeNull()
  })
})
