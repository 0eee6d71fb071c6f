import { describe, expect, test } from 'vitest'
import type { Conninfo } from '../src/model/conninfo.ts'
import { ServerError } from '../src/postgres/response.ts'
import { streamError } from '../src/session/stream-error.ts'

/** The code of follower for what a server says. */
function coded(code: string, message: string, detail?: string): string {
  const fields = new Map([
    ['C', code],
    ['M', message],
    ...(detail === undefined ? [] : [['D', detail] as const]),
  ])
  const error = streamError(new ServerError(fields), { display: 'there' } as Conninfo)
  return `${(error as { code?: string }).code}`
}

describe('what ends the stream', () => {
  test.each([
    ['XX000', 'invalid memory alloc request size 1073741824', undefined, 'FLW-333'],
    ['54000', 'der Speicher reicht nicht aus', '1073741000 Bytes, 4000 mehr werden gebraucht.', 'FLW-333'],
    ['53200', 'out of memory', 'Failed on request of size 512.', 'FLW-410'],
    // Large numbers that are no sizes.
    ['XX000', 'cache lookup failed for relation 4123456789', undefined, 'FLW-410'],
    [
      'XX000',
      'requested WAL segment 000000010000000000000066 has already been removed',
      undefined,
      'FLW-207',
    ],
    [
      '58P01',
      'das angeforderte WAL-Segment 00000001000000A7000000FE wurde schon entfernt',
      undefined,
      'FLW-207',
    ],
    ['57P01', 'terminating connection due to administrator command', undefined, 'FLW-410'],
  ])('%s: %s', (code, message, detail, expected) => {
    expect(coded(code, message, detail)).toBe(expected)
  })
})
