import type pg from 'pg'
import type { FollowSettings } from '../model/follow.ts'
import { connect } from '../postgres/connect.ts'
import { destroyClient } from '../postgres/socket.ts'
import { publishedNames } from '../provision/late.ts'
import type { Prepared } from '../provision/prepare.ts'
import { requireSameServer } from '../provision/same-server.ts'
import type { Logger } from '../telemetry/log.ts'

/**
 * PostgreSQL opens each table of a publication to tell it (18 does, 15 does not): whoever holds one in ACCESS EXCLUSIVE mode is not waited for, and one
 * that is dropped just then is an error (XX000).
 */
const patience = "SET lock_timeout = '1s'; SET statement_timeout = '60s'"

/**
 * Asks the upstream what the publications send, over a connection of its own: the session's answers questions that can't wait. What fails
 * is no news, and asked again.
 */
export class Publications {
  private client: pg.Client | undefined
  private closed = false
  private readonly upstream: pg.Client
  private readonly settings: FollowSettings
  private readonly prepared: Prepared
  private readonly log: Logger

  /** `upstream`: the session's, to know the server by. */
  constructor(upstream: pg.Client, settings: FollowSettings, prepared: Prepared, log: Logger) {
    this.upstream = upstream
    this.settings = settings
    this.prepared = prepared
    this.log = log
  }

  /** undefined: not now. */
  async look(): Promise<Awaited<ReturnType<typeof publishedNames>> | undefined> {
    try {
      this.client ??= await this.open()
      if (this.closed) return undefined
      return await publishedNames(this.client, this.prepared.publications)
    } catch (error) {
      if (!this.closed) this.log.debug({ err: error }, 'cannot ask what the publications send')
      this.giveUp()
      return undefined
    } finally {
      if (this.closed) this.giveUp()
    }
  }

  close(): void {
    this.closed = true
    this.giveUp()
  }

  private async open(): Promise<pg.Client> {
    const { upstream, applicationName } = this.settings
    const client = await connect({ end: 'upstream', conninfo: upstream, applicationName })
    try {
      // Another server's tables are not ours.
      await requireSameServer('upstream', this.upstream, client)
      await client.query(patience)
      return client
    } catch (error) {
      destroyClient(client)
      throw error
    }
  }

  private giveUp(): void {
    const { client } = this
    if (!client) return
    this.client = undefined
    // A server that does not answer is not waited for.
    const timer = setTimeout(() => destroyClient(client), 1000)
    client
      .end()
      .catch(() => {})
      .finally(() => clearTimeout(timer))
  }
}
