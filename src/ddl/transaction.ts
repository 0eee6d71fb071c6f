import type { DdlMessage } from '../model/ddl-message.ts'
import { type Keys, type Rejection, verifyDdlMessage } from './message.ts'

/** What must be remembered between the DDL messages of one upstream transaction. */
export interface DdlTransactionState {
  /** Counter of the last good message. */
  lastN: bigint
  /** Query texts by hash: only the first message of a text carries it. */
  readonly texts: Map<string, string>
  /** Next statement of a text, by statement time and text: the events of one string come in its order. */
  readonly ordinals: Map<string, number>
}

/** The state at Begin. */
export function beginDdlTransaction(): DdlTransactionState {
  return { lastN: 0n, texts: new Map(), ordinals: new Map() }
}

/** Verifies a message in its place (verifyDdlMessage) and remembers its counter and text. */
export function takeDdlMessage(
  content: Buffer,
  keys: Keys,
  xid: number,
  state: DdlTransactionState,
): { readonly message: DdlMessage } | { readonly rejected: Rejection } {
  const verified = verifyDdlMessage(content, keys, xid, state.lastN)
  if ('rejected' in verified) return verified
  const { message } = verified
  state.lastN = BigInt(message.n)
  if (message.query !== undefined && !state.texts.has(message.query_hash))
    state.texts.set(message.query_hash, message.query)
  return verified
}

/** A message and its place among the changes of its transaction. */
export interface PlacedMessage {
  readonly index: number
  readonly message: DdlMessage
}

/**
 * Moves the `end` message of CREATE TABLE AS and SELECT INTO to its `start`: PostgreSQL writes their rows before
 * the end of the command, so the table must exist from the start. Nested commands form a stack. A start without an
 * end, and an end without objects (IF NOT EXISTS), are nothing to replay. The result is in order of index.
 */
export function hoistCreateTableAs(messages: readonly PlacedMessage[]): PlacedMessage[] {
  const result: (PlacedMessage | undefined)[] = []
  const open: { slot: number; start: PlacedMessage }[] = []
  for (const placed of messages) {
    const { message } = placed
    if (message.kind === 'start') {
      open.push({ slot: result.length, start: placed })
      result.push(undefined)
    } else if (message.kind === 'end' && createsTableAs(message.tag)) {
      const begun = popStart(open, message)
      const moved = message.objects.length === 0 ? undefined : placed
      if (begun && moved) result[begun.slot] = { index: begun.start.index, message }
      else result.push(moved)
    } else result.push(placed)
  }
  return result.filter((placed) => placed !== undefined)
}

/** True for the command tags whose rows come before their `end` message. */
export function createsTableAs(tag: string): boolean {
  return tag === 'CREATE TABLE AS' || tag === 'SELECT INTO'
}

/** The innermost open start of the same command; those above it were rolled back or broken. */
function popStart<T extends { start: PlacedMessage }>(open: T[], end: DdlMessage): T | undefined {
  for (let at = open.length - 1; at >= 0; at--) {
    const { message } = open[at]!.start
    if (message.tag !== end.tag || message.query_hash !== end.query_hash) continue
    const [begun] = open.splice(at)
    return begun
  }
  return undefined
}
