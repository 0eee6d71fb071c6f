import type { Lsn } from '../model/lsn.ts'

/** Values arrive in binary and are wanted as text: nothing of the batch in hand stays, and another session asks for it again. */
export class TextWanted extends Error {
  /** End of what is to be applied as text; undefined: all, for as long as the tables are what they are. */
  readonly upTo: Lsn | undefined

  constructor(reason: string, upTo?: Lsn) {
    super(reason)
    this.upTo = upTo
  }
}
