import type pg from 'pg'
import type { Keys } from '../ddl/message.ts'

const rereadMs = 10_000

/** The keys of the upstream's capture, read again when a message names one that is not known (keys are rotated). */
export class CaptureKeys implements Keys {
  private readonly known = new Map<string, { ipad: Buffer; opad: Buffer }>()
  private readonly upstream: pg.Client
  private readAt = Number.NEGATIVE_INFINITY

  constructor(upstream: pg.Client) {
    this.upstream = upstream
  }

  get(keyId: string): { ipad: Buffer; opad: Buffer } | undefined {
    return this.known.get(keyId)
  }

  /** Makes sure that the key of this message is known, if the upstream has it. Anybody may invent key ids: not more than one look in 10 s. */
  async know(content: Buffer): Promise<void> {
    const keyId = content.toString('latin1', 0, 100).split(' ')[1] ?? ''
    if (this.known.has(keyId) || performance.now() - this.readAt < rereadMs) return
    await this.read()
  }

  private async read(): Promise<void> {
    this.readAt = performance.now()
    const { rows } = await this.upstream.query<{ key_id: string; ipad: string; opad: string }>(
      'SELECT key_id, ipad, opad FROM follower.secret',
    )
    this.known.clear()
    for (const row of rows)
      this.known.set(row.key_id, {
        ipad: Buffer.from(row.ipad.slice(2), 'hex'),
        opad: Buffer.from(row.opad.slice(2), 'hex'),
      })
  }
}
