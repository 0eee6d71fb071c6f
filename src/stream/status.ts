import type { Lsn } from '../model/lsn.ts'

/**
 * A standby status update: how far the WAL is written, flushed and applied here.
 * https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-STANDBY-STATUS-UPDATE
 */
export interface StandbyStatus {
  readonly written: Lsn
  /** Never beyond what is durable downstream (P2): the upstream may forget everything before it. */
  readonly flushed: Lsn
  readonly applied: Lsn
  readonly replyRequested: boolean
}

/** Microseconds between the Unix epoch and PostgreSQL's, 2000-01-01. */
const epochOffset = 946_684_800_000_000n

export function encodeStatus(status: StandbyStatus, nowMs: number = Date.now()): Buffer {
  const message = Buffer.alloc(1 + 4 + 34)
  message[0] = 0x64 // CopyData
  message.writeUInt32BE(4 + 34, 1)
  message[5] = 0x72 // r
  message.writeBigUInt64BE(status.written, 6)
  message.writeBigUInt64BE(status.flushed, 14)
  message.writeBigUInt64BE(status.applied, 22)
  message.writeBigInt64BE(BigInt(Math.trunc(nowMs)) * 1000n - epochOffset, 30)
  message[38] = status.replyRequested ? 1 : 0
  return message
}
