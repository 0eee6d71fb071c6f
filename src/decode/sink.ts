import type { Lsn } from '../model/lsn.ts'
import type { Relation } from '../model/relation.ts'

/** Who receives what a decoder reads. Bytes are valid only during the call. */
export interface DecodeSink {
  begin(commitLsn: Lsn, commitTime: bigint, xid: number): void
  commit(commitLsn: Lsn, endLsn: Lsn, commitTime: bigint): void
  /** Names a type that is not built in, of a domain its base type: for the Relation messages that follow. */
  type(oid: number, schema: string, name: string): void
  relation(relation: Relation): void
  /** Insert, Update or Delete: the whole message as pgoutput has it, type byte first. */
  row(relationOid: number, buffer: Buffer, offset: number, length: number): void
  truncate(relationOids: readonly number[], cascade: boolean, restartIdentity: boolean): void
  /** A logical message: `content` is a view. */
  message(transactional: boolean, lsn: Lsn, prefix: string, content: Buffer): void
}

/** Who receives transactions before they are committed, too: in blocks, of each of which all is of one. */
export interface StreamSink extends DecodeSink {
  streamStart(xid: number): void
  /** What follows in the block is of this (sub)transaction. */
  within(subxid: number): void
  streamStop(): void
  streamCommit(xid: number, commitLsn: Lsn, endLsn: Lsn, commitTime: bigint): void
  /** Of a subtransaction, or of the whole where both are the same. */
  streamAbort(xid: number, subxid: number): void
}
