import type { Versions } from '../model/statement.ts'
import type { Prepared } from '../provision/prepare.ts'
import type { SessionContext } from './context.ts'
import { pluginOf, type Sending } from './plugin.ts'

/** Tells the metrics what is followed, and how. */
export function tellUpstream(
  { settings, metrics }: SessionContext,
  prepared: Prepared,
  systemIdentifier: string,
  { binary, streaming }: Sending,
): void {
  metrics.upstreamInfo.set(
    {
      server_version: String(prepared.upstreamVersion),
      system_id: systemIdentifier,
      ...{ slot: settings.slot, plugin: settings.plugin, binary: String(binary) },
      protocol: pluginOf[settings.plugin].version(streaming),
    },
    1,
  )
}

export function versionsOf({ upstreamVersion, downstreamVersion }: Prepared): Versions {
  return { upstream: upstreamVersion, downstream: downstreamVersion }
}
