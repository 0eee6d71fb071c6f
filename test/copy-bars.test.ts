import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { CopyState } from '../src/model/copy-state.ts'
import { outlook } from '../src/model/copy-state.ts'
import { formatSeconds } from '../src/model/size.ts'
import { copyBars } from '../src/telemetry/copy-bars.ts'
import { Screen } from '../src/telemetry/screen.ts'
import { Terminal } from '../src/telemetry/terminal.ts'
import { cleanUp } from './support/cleanup.ts'
import { terminal } from './support/terminal.ts'

const MB = 1024 * 1024
const state: CopyState = {
  seconds: 10,
  tables: { copied: 2, total: 12 },
  rows: 1_234_567,
  bytes: 55 * MB,
  // With what is taken for granted (5 percent of all), rows as they come take half of their files.
  copiedBytes: 35 * MB,
  fileBytes: { copied: 80 * MB, total: 200 * MB },
  inWork: [
    { name: 'public.orders', rows: 1000, bytes: 20 * MB, fileBytes: 80 * MB, seconds: 5 },
    { name: 'a.b\u001b[2J\n', rows: undefined, bytes: 0, fileBytes: 0, seconds: 0 },
  ],
}

describe('bars', () => {
  test('one a table in work and one of the whole', () => {
    expect(copyBars(state, { width: 120, height: 24 }).map((line) => line.trimEnd())).toEqual([
      'public.orders  [####################--------------------]  50%      1,000 rows  20.0 MB of ~40.0 MB  4.0 MB/s  ~5 s left',
      'a.b?[2J?       [----------------------------------------]   0%                          0 B of ~0 B     0 B/s',
      '2 of 12 tables [#######################-----------------]  57%  1,234,567 rows  55.0 MB of ~95.0 MB  5.5 MB/s  ~8 s left',
    ])
  })

  test.each([200, 120, 100, 80, 60, 40, 20, 5, 1])(
    'none is wider than %i columns, nor are there more than lines',
    (width) => {
      for (const height of [1, 2, 3, 4, 24]) {
        const lines = copyBars(state, { width, height })
        expect(lines.length).toBeLessThan(Math.max(2, height))
        for (const line of lines) {
          expect([...line].length).toBeLessThanOrEqual(width)
          // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
          expect(line).not.toMatch(/[\x00-\x1f\x7f-\x9f]/)
        }
      }
      if (width >= 40)
        expect(copyBars(state, { width, height: 24 })[2]).toMatch(/^2 of 12 tab.*\[#+-+\] +57%/)
    },
  )

  test('what is left is judged by what the copied tables took, and is all only at the end', () => {
    expect(outlook(state)).toMatchObject({ bytes: 95 * MB, share: 55 / 95, rate: 5.5 * MB })
    expect(outlook({ ...state, bytes: 500 * MB }).share).toBe(0.99)
    const all = { ...state, tables: { copied: 12, total: 12 } }
    expect(outlook(all)).toMatchObject({ share: 1, secondsLeft: 0 })
    const nothing = { ...state, bytes: 0, copiedBytes: 0, inWork: [], fileBytes: { copied: 0, total: 5 } }
    expect(outlook(nothing)).toMatchObject({ share: 0, bytes: 5, secondsLeft: undefined })
    expect([0.2, 60, 61, 3599.5, 7300].map(formatSeconds)).toEqual([
      '1 s',
      '1 min',
      '1 min 1 s',
      '1 h',
      '2 h 1 min',
    ])
  })
})

test('lines of the log stand above what is drawn, whole', () => {
  const screen = terminal()
  const out = { write: (text: string) => screen.write(text), free: true }
  const it = new Screen(out, () => ({ width: 80, height: 24 }))
  it.write('one\n')
  it.show(() => ['bar', 'total'])
  expect(screen.lines).toEqual(['one', 'bar', 'total'])
  it.write('two\nthree\n')
  expect(screen.lines).toEqual(['one', 'two', 'three', 'bar', 'total'])
  it.hide()
  it.write('four\n')
  it.hide()
  expect(screen.lines).toEqual(['one', 'two', 'three', 'four'])
})

describe('a terminal that stands still', () => {
  /** A pipe in its place: what it does not take is refused in the same way. */
  function stuck() {
    const dir = mkdtempSync('/tmp/follower-test-')
    const file = path.join(dir, 'pipe')
    execFileSync('mkfifo', [file])
    const reading = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK)
    const it = new Terminal(openSync(file, constants.O_WRONLY | constants.O_NONBLOCK))
    cleanUp(() => {
      it.close()
      closeSync(reading)
      rmSync(dir, { recursive: true })
    })
    /** All that it has taken by now. */
    const read = (): string => {
      const parts: Buffer[] = []
      try {
        for (;;) {
          const buffer = Buffer.alloc(65536)
          parts.push(buffer.subarray(0, readSync(reading, buffer)))
        }
      } catch (error) {
        expect(error).toMatchObject({ code: 'EAGAIN' })
      }
      return Buffer.concat(parts).toString()
    }
    return { it, read }
  }

  test('holds up nobody: it is drawn on no more, lines of the log come later, whole and in order', async () => {
    const { it, read } = stuck()
    const screen = new Screen(it, () => ({ width: 80, height: 24 }))
    const lines = Array.from({ length: 2000 }, (_, i) => `line ${i} ${'x'.repeat(80)}`)
    for (const line of lines) screen.write(`${line}\n`)
    expect(it.free).toBe(false)
    let drawn = 0
    screen.show(() => [`bar ${++drawn}`])
    expect(drawn).toBe(0)
    let seen = ''
    while (!it.free || drawn === 0) {
      seen += read()
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    screen.hide()
    seen += read()
    const shown = terminal()
    shown.write(seen)
    expect(shown.lines).toEqual(lines)
  })

  test('of more than it is kept for, the number of lines is told', async () => {
    const { it, read } = stuck()
    const line = `${'x'.repeat(1023)}\n`
    for (let i = 0; i < 2000; i++) it.write(line)
    let seen = ''
    while (!seen.endsWith('stood still]\r\n')) {
      seen += read()
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    const whole = seen.split(line).length - 1
    expect(whole).toBeGreaterThan(1024)
    expect(seen.slice(whole * line.length)).toBe(
      `[${2000 - whole} lines left out: the terminal stood still]\r\n`,
    )
    expect(it.free).toBe(true)
  })
})
