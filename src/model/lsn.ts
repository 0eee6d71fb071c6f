/**
 * A position in the write-ahead log: 64 bits, `X/Y` in hexadecimal.
 * Always a bigint, since a number loses bits beyond 2^53.
 * https://www.postgresql.org/docs/current/datatype-pg-lsn.html
 */
export type Lsn = bigint

const pattern = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/

/** Parses `16/B374D848`; undefined where the text is no LSN. */
export function parseLsn(text: string): Lsn | undefined {
  const match = pattern.exec(text)
  if (!match) return undefined
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`)
}

/** Parses what a server sent as pg_lsn. Throws a TypeError where it is none. */
export function lsnFromServer(text: string): Lsn {
  const lsn = parseLsn(text)
  if (lsn === undefined) throw new TypeError(`not an LSN: ${text}`)
  return lsn
}

/** The server's own notation: upper case, no leading zeros. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`
}
