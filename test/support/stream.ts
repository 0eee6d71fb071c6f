import type { Transaction } from '../../src/model/changes.ts'
import { ddlPrefix } from '../../src/model/ddl-message.ts'
import type { Relation } from '../../src/model/relation.ts'
import { Assembler } from '../../src/transaction/assembler.ts'

/** A value as text; null; undefined: TOASTed and unchanged, so not sent. */
export type Value = string | null | undefined
export type Row = readonly Value[]

/** One change as pgoutput would send it. `old`: the old row, under FULL; its key, where that changes. */
export type Change =
  | { readonly insert: Row; readonly relation: number }
  | { readonly update: Row; readonly old?: Row; readonly relation: number }
  | { readonly delete: Row; readonly relation: number }
  | { readonly truncate: readonly number[] }
  | { readonly ddl: string }

/**
 * Makes transactions of changes, by the program's own assembler: what the decoder would hand over for a stream.
 * https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 */
export class FakeStream {
  readonly assembler: Assembler
  private readonly relations: readonly Relation[]
  private made: Transaction | undefined
  private lsn = 1n

  constructor(relations: readonly Relation[]) {
    this.relations = relations
    this.assembler = new Assembler(0n, {
      transaction: (transaction) => {
        this.made = transaction
      },
      passed: () => {},
      forged: () => {},
      memory: 2 ** 25,
      spill: () => {
        throw new Error('too large for a test')
      },
    })
    for (const relation of relations) this.assembler.relation(relation)
  }

  transaction(changes: readonly Change[]): Transaction {
    const lsn = this.lsn++
    this.assembler.begin(lsn, 0n, Number(lsn))
    for (const change of changes) this.send(change)
    this.assembler.commit(lsn, lsn, 0n)
    if (!this.made) throw new Error('a transaction without changes')
    return this.made
  }

  private send(change: Change): void {
    if ('ddl' in change) {
      this.assembler.message(true, 0n, ddlPrefix, Buffer.from(change.ddl))
      return
    }
    if ('truncate' in change) {
      const oids = change.truncate.map((i) => this.relations[i]!.oid)
      this.assembler.truncate(oids, false, false)
      return
    }
    const relation = this.relations[change.relation]!
    const bytes = message(change, relation)
    this.assembler.row(relation.oid, bytes, 0, bytes.length)
  }
}

function message(
  change: Exclude<Change, { truncate: readonly number[] } | { ddl: string }>,
  relation: Relation,
): Buffer {
  const oid = Buffer.alloc(4)
  oid.writeUInt32BE(relation.oid)
  const old = relation.identity === 'f' ? 'O' : 'K'
  if ('insert' in change)
    return Buffer.concat([Buffer.from('I'), oid, Buffer.from('N'), tuple(change.insert)])
  if ('delete' in change)
    return Buffer.concat([Buffer.from('D'), oid, Buffer.from(old), tuple(change.delete)])
  return Buffer.concat([
    ...[Buffer.from('U'), oid],
    ...(change.old ? [Buffer.from(old), tuple(change.old)] : []),
    ...[Buffer.from('N'), tuple(change.update)],
  ])
}

function tuple(row: Row): Buffer {
  const count = Buffer.alloc(2)
  count.writeUInt16BE(row.length)
  return Buffer.concat([count, ...row.map(value)])
}

function value(text: Value): Buffer {
  if (text === null) return Buffer.from('n')
  if (text === undefined) return Buffer.from('u')
  const bytes = Buffer.from(text)
  const head = Buffer.from('t....')
  head.writeInt32BE(bytes.length, 1)
  return Buffer.concat([head, bytes])
}
