import type pg from 'pg'
import type { Keys } from '../ddl/message.ts'
import { type Lsn, lsnFromServer } from '../model/lsn.ts'

/** The keys of the upstream's capture, read again when a message names one that is not known (keys are rotated). */
export class CaptureKeys implements Keys {
  private readonly known = new Map<string, { ipad: Buffer; opad: Buffer }>()
  private readonly upstream: pg.Client
  /** Where the upstream's WAL ended before the last look. */
  private readAt: Lsn = 0n

  constructor(upstream: pg.Client) {
    this.upstream = upstream
  }

  get(keyId: string): { ipad: Buffer; opad: Buffer } | undefined {
    return this.known.get(keyId)
  }

  /**
   * Makes sure that the key of this message is known, if the upstream has it. `lsn`: where its transaction ended. Anybody may
   * invent key ids, so there is no look where the last one saw every key that this transaction can have been signed with.
   */
  async know(content: Buffer, lsn: Lsn): Promise<void> {
    const keyId = content.toString('latin1', 0, 300).split(' ')[1] ?? ''
    if (this.known.has(keyId) || lsn <= this.readAt) return
    await this.read()
  }

  private async read(): Promise<void> {
    // First the place, then the keys: a key that comes in between is only looked for once more.
    const end = await this.upstream.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn() AS lsn')
    const { rows } = await this.upstream.query<{ key_id: string; ipad: string; opad: string }>(
      'SELECT key_id, ipad, opad FROM follower.secret',
    )
    this.readAt = lsnFromServer(end.rows[0]!.lsn)
    this.known.clear()
    for (const row of rows)
      this.known.set(row.key_id, {
        ipad: Buffer.from(row.ipad.slice(2), 'hex'),
        opad: Buffer.from(row.opad.slice(2), 'hex'),
      })
  }
}
