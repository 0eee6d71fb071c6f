import { messageDelete, messageInsert, oldNone, type RowChange } from '../model/changes.ts'
import type { Tuple } from '../model/tuple.ts'

/** What is left of all changes of one row. */
export const netInsert = 1
export const netUpdate = 2
export const netDelete = 3
/** A DELETE and then an INSERT. */
export const netReplace = 4
/** An INSERT and then a DELETE: done all the same, since the INSERT may meet a row that is there. */
export const netPass = 5

/** Twice a number of this many times 2^32 has room for one more bit. */
const exactHigh = 2 ** 19

/** What `add` did: took the change; or needs what was taken before to be applied first, or the change to be applied by itself then. */
export type Taken = 'taken' | 'full' | 'alone'

/**
 * The net change of each row of one table: of many changes of a key the last image is left. It takes no
 * sequence of changes whose end would hide what the ordered way would stop at. No object per row: images are
 * places in the received bytes.
 */
export class NetChanges {
  private readonly key: readonly number[]
  private readonly places = new Map<string | number, number>()
  private states = new Uint8Array(1024)
  private offsets = new Uint32Array(1024)
  private readonly buffers: Buffer[] = []

  /** `key`: columns that find a row, by the bytes of their values. */
  constructor(key: readonly number[]) {
    this.key = key
  }

  /** Rows with a net change. */
  get size(): number {
    return this.buffers.length
  }

  /** What is left of the row at `i` (in the order in which they were first met), one of `net…`. */
  state(i: number): number {
    return this.states[i]!
  }

  /** Sets `change` to the last image of the row at `i`. Its identity tuple has the key. */
  read(i: number, change: RowChange): void {
    change.read(this.buffers[i]!, this.offsets[i]!)
  }

  /** Takes the change that was read from `buffer` at `offset`. */
  add(change: RowChange, buffer: Buffer, offset: number): Taken {
    const { type } = change
    const isInsert = type === messageInsert
    if (!isInsert && type !== messageDelete && !this.isWhole(change)) return 'alone'
    const row = isInsert ? change.newTuple : change.identity
    if (!this.key.every((column) => row.hasValue(column))) return 'alone'
    const key = keyOf(row, this.key)
    const at = this.places.get(key)
    if (at === undefined) {
      const state = isInsert ? netInsert : type === messageDelete ? netDelete : netUpdate
      this.append(key, state, buffer, offset)
      return 'taken'
    }
    const next = isInsert
      ? afterInsert(this.states[at]!)
      : type === messageDelete
        ? afterDelete(this.states[at]!)
        : afterUpdate(this.states[at]!)
    if (next === 0) return 'full'
    this.states[at] = next
    // Of a row that came and went its image is needed for the INSERT.
    if (next !== netPass) {
      this.buffers[at] = buffer
      this.offsets[at] = offset
    }
    return 'taken'
  }

  clear(): void {
    this.places.clear()
    this.buffers.length = 0
  }

  /** An UPDATE that says all of the new row, and whose key stays. */
  private isWhole({ newTuple, oldTuple, old }: RowChange): boolean {
    if (newTuple.unchanged > 0) return false
    return old === oldNone || this.key.every((column) => newTuple.sameValue(column, oldTuple))
  }

  private append(key: string | number, state: number, buffer: Buffer, offset: number): void {
    const at = this.buffers.length
    if (at === this.states.length) this.grow()
    this.places.set(key, at)
    this.states[at] = state
    this.offsets[at] = offset
    this.buffers.push(buffer)
  }

  private grow(): void {
    const states = new Uint8Array(this.states.length * 2)
    states.set(this.states)
    this.states = states
    const offsets = new Uint32Array(this.offsets.length * 2)
    offsets.set(this.offsets)
    this.offsets = offsets
  }
}

/** The bytes of the key's values; of several, so that no two keys have the same text. Mostly it is one integer, of which no text needs to be made. */
function keyOf(tuple: Tuple, key: readonly number[]): string | number {
  if (key.length === 1) return numberOf(tuple, key[0]!) ?? valueText(tuple, key[0]!)
  let text = ''
  for (const column of key) text += `${tuple.length[column]!}:${valueText(tuple, column)}`
  return text
}

/** Another number for each value of four bytes, and for each of eight that is exact as a number. */
function numberOf({ buffer, start, length }: Tuple, column: number): number | undefined {
  const at = start[column]!
  if (length[column] === 4) return buffer.readInt32BE(at) * 2
  if (length[column] !== 8) return undefined
  const high = buffer.readInt32BE(at)
  if (high >= exactHigh || high < -exactHigh) return undefined
  return (high * 2 ** 32 + buffer.readUInt32BE(at + 4)) * 2 + 1
}

function valueText({ buffer, start, length }: Tuple, column: number): string {
  return buffer.toString('latin1', start[column]!, start[column]! + length[column]!)
}

// 0: what the ordered way would make of it is not for us to say.

function afterInsert(state: number): number {
  return state === netDelete ? netReplace : 0
}

function afterUpdate(state: number): number {
  return state === netDelete || state === netPass ? 0 : state
}

function afterDelete(state: number): number {
  if (state === netInsert) return netPass
  return state === netUpdate || state === netReplace ? netDelete : 0
}
