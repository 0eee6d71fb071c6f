import { EventEmitter } from 'node:events'
import type pg from 'pg'
import { describe, expect, it } from 'vitest'
import { BacklogWatch } from '../src/session/backlog-watch.ts'
import { isNear, nearBytes, nextSize, smallerSize } from '../src/session/pull-size.ts'
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
    write: () => true,
    pause: () => socket,
    resume: () => socket,
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
    socket.emit('data', message('d', header, int16(2), Buffer.alloc(20)))
    await expect(read).rejects.toThrow(RangeError)
    expect(socket.destroyed).toBe(true)
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
