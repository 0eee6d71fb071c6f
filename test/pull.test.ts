import { EventEmitter } from 'node:events'
import type pg from 'pg'
import { describe, expect, it } from 'vitest'
import { BacklogWatch } from '../src/session/backlog-watch.ts'
import type { EndConnections } from '../src/session/connections.ts'
import { isNear, nearBytes, nextSize, smallerSize } from '../src/session/pull-size.ts'
import { Turns } from '../src/session/pull-turns.ts'
import { Flow } from '../src/stream/flow.ts'
import { type Window, Windows } from '../src/stream/windows.ts'

const mebibyte = 1024n * 1024n

describe('the size of a window', () => {
  const place = (confirmed: bigint, restart: bigint) => ({ confirmed, restart })

  it('grows while each window decodes again as much as it brings', () => {
    expect(nextSize(100_000, 0n, place(10n, 0n))).toBe(200_000)
    expect(nextSize(200_000, 10n, place(30n, 0n))).toBe(400_000)
    // The server has written where it may begin.
    expect(nextSize(400_000, 30n, place(70n, 69n))).toBe(400_000)
    expect(nextSize(800_000, 70n, place(150n, 69n))).toBe(1_000_000)
    expect(nextSize(1_000_000, 150n, place(250n, 69n))).toBe(1_000_000)
  })

  it('shrinks where the server has no room, to an end', () => {
    const sizes: (number | undefined)[] = [1_000_000]
    while (sizes.at(-1) !== undefined) sizes.push(smallerSize(sizes.at(-1)!))
    expect(sizes).toEqual([1_000_000, 250_000, 62_500, undefined])
  })

  it('ends near the end of the WAL', () => {
    expect(isNear(nearBytes, false)).toBe(false)
    expect(isNear(nearBytes - 1n, false)).toBe(true)
    expect(isNear(nearBytes, true)).toBe(false)
  })
})

/** A client whose server is the test. */
function server() {
  const socket = Object.assign(new EventEmitter(), {
    destroyed: false,
    paused: false,
    write: (bytes: Buffer) => {
      socket.asked.push(bytes.toString())
      return true
    },
    asked: [] as string[],
    pause: () => {
      socket.paused = true
      return socket
    },
    resume: () => {
      socket.paused = false
      return socket
    },
    destroy: () => {
      socket.destroyed = true
      socket.emit('close')
      return socket
    },
  })
  const message = (type: string, ...body: Buffer[]) => {
    const head = Buffer.alloc(5)
    head.write(type)
    head.writeUInt32BE(4 + body.reduce((sum, each) => sum + each.length, 0), 1)
    return Buffer.concat([head, ...body])
  }
  const int16 = (n: number) => Buffer.from([(n >> 8) & 255, n & 255])
  const int32 = (n: number) => Buffer.from([n >>> 24, (n >> 16) & 255, (n >> 8) & 255, n & 255])
  const header = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), int32(0), int32(0)])
  const row = (text: string) => Buffer.concat([int16(1), int32(text.length), Buffer.from(text)])
  const values = (...texts: string[]) =>
    message('D', int16(texts.length), ...texts.flatMap((text) => [int32(text.length), Buffer.from(text)]))
  const client = { connection: { stream: socket } } as unknown as pg.Client
  return { socket, client, message, header, row, values, int16 }
}

describe('a window', () => {
  it('is the same however its bytes arrive', async () => {
    const { socket, client, message, header, row, values, int16 } = server()
    const bytes = Buffer.concat([
      message('H', Buffer.from([1, 0, 1, 0, 1])),
      message('d', header, row('first')),
      message('d', row('')),
      message('d', row('third')),
      message('d', int16(-1)),
      message('c'),
      message('C', Buffer.from('COPY 3\0')),
      values('0/10', '0/8', '0/20'),
      message('C', Buffer.from('SELECT 1\0')),
      message('Z', Buffer.from('I')),
    ])
    const flow = new Flow()
    const seen: string[] = []
    let first = 0
    const windows = new Windows(client, flow, {
      first: () => first++,
      wal: (buffer, offset, length) => seen.push(buffer.toString('latin1', offset, offset + length)),
      notice: () => {},
    })
    for (let step = 1; step <= bytes.length; step++) {
      seen.length = 0
      const read: Promise<Window> = windows.read('')
      windows.resume()
      for (let at = 0; at < bytes.length; at += step) socket.emit('data', bytes.subarray(at, at + step))
      expect(await read).toMatchObject({ messages: 3, row: ['0/10', '0/8', '0/20'] })
      expect(seen).toEqual(['first', '', 'third'])
      expect(first).toBe(step)
    }
    expect(flow.bytes).toBe(bytes.length * bytes.length)
  })

  it('may be empty, or refused, and the next one is read', async () => {
    const { socket, client, message, header, int16 } = server()
    const windows = new Windows(client, new Flow(), { first: () => {}, wal: () => {}, notice: () => {} })
    const ready = message('Z', Buffer.from('I'))
    const empty = windows.read('')
    windows.resume()
    socket.emit('data', Buffer.concat([message('d', header, int16(-1)), ready]))
    expect(await empty).toMatchObject({ messages: 0 })
    const refused = windows.read('')
    const error = message('E', Buffer.from('VERROR\0C53400\0Mno room\0\0'))
    socket.emit('data', Buffer.concat([error, ready]))
    await expect(refused).rejects.toMatchObject({ code: '53400', severity: 'ERROR' })
    expect(windows.isReading).toBe(false)
    const lost = windows.read('')
    socket.destroy()
    await expect(lost).rejects.toThrow('closed')
  })

  it('of another shape than one column is an error', async () => {
    const { socket, client, message, header, int16 } = server()
    const windows = new Windows(client, new Flow(), { first: () => {}, wal: () => {}, notice: () => {} })
    const read = windows.read('')
    windows.resume()
    socket.emit('data', message('d', header, int16(2), Buffer.alloc(20)))
    await expect(read).rejects.toThrow(RangeError)
    expect(socket.destroyed).toBe(true)
  })
})

describe('two sessions that bring windows in turn', () => {
  /** The first session's window has come; the second one was asked for what is behind it. */
  async function turns() {
    const flow = new Flow()
    const [a, b] = [server(), server()]
    const terminated: unknown[] = []
    const other = Object.assign(b.client, { query: async () => ({ rows: [] }) })
    const upstream = { query: async (_: string, values: unknown[]) => terminated.push(values) }
    const connections = { another: async () => other, leave: async () => {}, upstream }
    const seen: string[] = []
    const it = new Turns(
      {
        ...{ flow, slot: 'own', plugin: {}, connections: connections as unknown as EndConnections },
        handlers: () => ({
          first: () => {},
          wal: (buffer, offset, length) => seen.push(buffer.toString('latin1', offset, offset + length)),
          notice: () => {},
        }),
      },
      Object.assign(a.client, { processID: 1, removeAllListeners: () => a.client }),
      'first',
    )
    Object.assign(other, { processID: 2, removeAllListeners: () => other })
    const first = it.current
    first.ask(100)
    const window = first.take()
    a.socket.emit(
      'data',
      Buffer.concat([a.message('d', a.header, a.row('one')), a.message('d', a.int16(-1))]),
    )
    const second = await it.other(first)
    second.ask(200, first, 10n)
    a.socket.emit('data', Buffer.concat([a.values('0/10', '0/8', '0/20'), a.message('Z', Buffer.from('I'))]))
    await window
    return { flow, a, b, it, first, second, seen, terminated }
  }

  it('are read only at their turn, whatever held the stream back before', async () => {
    const { flow, a, b, first, second, seen } = await turns()
    expect([a.socket.paused, b.socket.paused]).toEqual([true, true])
    flow.hold('queue', true)
    flow.hold('queue', false)
    expect(b.socket.paused).toBe(true)
    const window = second.take()
    expect([a.socket.paused, b.socket.paused]).toEqual([true, false])
    first.ask(100, second, 20n)
    flow.hold('queue', true)
    expect(b.socket.paused).toBe(true)
    flow.hold('queue', false)
    expect([a.socket.paused, b.socket.paused]).toEqual([true, false])
    b.socket.emit(
      'data',
      Buffer.concat([b.message('d', b.header, b.row('two')), b.message('Z', Buffer.from('I'))]),
    )
    await window
    expect(seen).toEqual(['one', 'two'])
    // Nothing of one that is not at its turn is taken.
    a.socket.emit('data', a.message('d', a.header, a.row('three')))
    await expect(first.take()).rejects.toThrow('before its turn')
    expect(seen).toEqual(['one', 'two'])
  })

  it('are one where the other one has waited for too long, from the same place on', async () => {
    const { it: both, a, b, first, second, terminated } = await turns()
    expect(both.waiting(60_000)).toBeUndefined()
    expect(both.waiting(-1)).toBe(second)
    await both.drop(second)
    expect(b.socket.destroyed).toBe(true)
    expect(terminated).toEqual([[['2']]])
    const reason = await second.take().catch((error: Error) => error)
    a.socket.asked.length = 0
    expect(both.instead(second, reason as Error, 10n)).toBe(first)
    expect(both.alone).toBe(true)
    expect(a.socket.asked.join()).toMatch(/changes\('first', NULL, 200/)
  })

  it('go on with a smaller window where there is no room, from a new copy: the server has dropped the old one', async () => {
    const { it: both, a, first } = await turns()
    first.ask(200_000)
    const refused = first.take()
    const error = a.message('E', Buffer.from('VERROR\0C53400\0Mno room\0\0'))
    a.socket.emit('data', Buffer.concat([error, a.message('Z', Buffer.from('I'))]))
    a.socket.asked.length = 0
    const reason = await refused.catch((reason: Error) => reason)
    expect(both.instead(first, reason as Error, 0x10n)).toBe(first)
    expect(a.socket.asked.join()).toMatch(
      /copy_logical_replication_slot\('own', '(own_pull_\w+)', true\);SELECT pg_catalog.pg_replication_slot_advance\('\1', '0\/10'\);COPY .*changes\('\1', NULL, 50000/,
    )
  })
})

describe('a stream that is far behind', () => {
  const start = 1_000_000
  function watch(mayPull = true) {
    const flow = new Flow()
    const receiver = { isStreaming: true }
    const assembler = { received: 0n, inTransaction: false }
    const pump = { waiting: false }
    let stops = 0
    const it = new BacklogWatch({
      ...({ receiver, assembler, pump } as object as Pick<
        ConstructorParameters<typeof BacklogWatch>[0],
        'receiver' | 'assembler' | 'pump'
      >),
      flow,
      mayPull: () => mayPull,
      stop: () => stops++,
    })
    /** A look each two seconds, for so long. */
    let now = start
    const looks = (seconds: number, behind: bigint) => {
      for (const end = now + 1000 * seconds; now < end; now += 2000) it.look(behind, 0n, now)
      return stops
    }
    return { flow, receiver, assembler, pump, looks }
  }
  const far = 65n * mebibyte

  it('makes way for pulling, after a while, once', () => {
    const { looks } = watch()
    expect(looks(30, far)).toBe(0)
    expect(looks(4, far)).toBe(1)
    expect(looks(60, far)).toBe(1)
  })

  it('does not where it comes near now and then, or is not that far', () => {
    const { looks } = watch()
    for (let i = 0; i < 20; i++) {
      expect(looks(8, far)).toBe(0)
      expect(looks(2, 63n * mebibyte)).toBe(0)
    }
  })

  it.each(['held', 'in a transaction', 'waited for', 'told not to'])('does not while it is %s', (why) => {
    const { flow, assembler, pump, looks } = watch(why !== 'told not to')
    flow.hold('queue', why === 'held')
    assembler.inTransaction = why === 'in a transaction'
    pump.waiting = why === 'waited for'
    expect(looks(120, far)).toBe(0)
  })

  it('does not where it was pulled already, or nothing streams', () => {
    const { receiver, looks } = watch()
    receiver.isStreaming = false
    expect(looks(120, far)).toBe(0)
  })
})
