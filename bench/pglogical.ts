import { setTimeout as sleep } from 'node:timers/promises'
import type { Consumer, Place } from './consumer.ts'
import { run } from './sql.ts'

/**
 * The extension of Debian, with its defaults. Its subscription makes the slot, so it is made before the backlog and sleeps meanwhile.
 * https://github.com/2ndQuadrant/pglogical
 */
export const pglogical: Consumer = {
  name: 'pglogical',
  plugin: undefined,
  applies: true,
  mayDiffer: true,
  async prepare(place) {
    const [upstream, downstream] = conninfos(place)
    await run(
      upstream,
      `CREATE EXTENSION pglogical;
       SELECT pglogical.create_node('upstream', '${upstream}');
       SELECT pglogical.replication_set_add_table(
         CASE WHEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) THEN 'default' ELSE 'default_insert_only' END, c.oid)
         FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace`,
    )
    await run(
      downstream,
      `CREATE EXTENSION pglogical; SELECT pglogical.create_node('downstream', '${downstream}')`,
    )
    await run(
      downstream,
      `SELECT pglogical.create_subscription('bench', '${upstream}', synchronize_structure := false, synchronize_data := false)`,
    )
    await status(downstream, 'replicating')
    await run(downstream, "SELECT pglogical.alter_subscription_disable('bench', true)")
    await status(downstream, 'disabled')
    await released(upstream)
  },
  async start(place, begun) {
    const [upstream, downstream] = conninfos(place)
    begun()
    await run(downstream, "SELECT pglogical.alter_subscription_enable('bench', true)")
    return {
      pids: [],
      stop: async () => {
        await run(downstream, "SELECT pglogical.drop_subscription('bench')")
        await run(downstream, "SELECT pglogical.drop_node('downstream')")
        await run(upstream, "SELECT pglogical.drop_node('upstream')")
        await run(downstream, 'DROP EXTENSION pglogical')
        await run(upstream, 'DROP EXTENSION pglogical')
      },
    }
  },
}

function conninfos(place: Place): [string, string] {
  return [place.up.conninfo(place.upstreamDatabase), place.down.conninfo(place.downstreamDatabase)]
}

async function status(downstream: string, wanted: string): Promise<void> {
  for (let i = 0; i < 600; i++) {
    const [row] = await run(downstream, "SELECT status FROM pglogical.show_subscription_status('bench')")
    if (row?.status === wanted) return
    await sleep(100)
  }
  throw new Error(`the subscription of pglogical is not ${wanted}`)
}

async function released(upstream: string): Promise<void> {
  for (let i = 0; i < 600; i++) {
    const rows = await run(
      upstream,
      "SELECT 1 FROM pg_replication_slots WHERE plugin = 'pglogical_output' AND active",
    )
    if (rows.length === 0) return
    await sleep(100)
  }
  throw new Error('the slot of pglogical is still in use')
}
