import type { Consumer } from './consumer.ts'
import { run } from './sql.ts'

/**
 * PostgreSQL's own subscription with its best options.
 * https://www.postgresql.org/docs/current/sql-createsubscription.html
 */
export const native: Consumer = {
  name: 'native subscription',
  plugin: 'pgoutput',
  applies: true,
  async start(place, begun) {
    const downstream = place.down.conninfo(place.downstreamDatabase)
    const streaming = place.down.version >= 160000 ? 'parallel' : 'on'
    await run(
      downstream,
      `CREATE SUBSCRIPTION ${place.slot} CONNECTION '${place.up.conninfo(place.upstreamDatabase)}' PUBLICATION bench
         WITH (create_slot = false, slot_name = '${place.slot}', copy_data = false, enabled = false, binary = true, streaming = ${streaming})`,
    )
    begun()
    await run(downstream, `ALTER SUBSCRIPTION ${place.slot} ENABLE`)
    return {
      pids: [],
      stop: async () => {
        await run(downstream, `ALTER SUBSCRIPTION ${place.slot} DISABLE`)
        await run(downstream, `ALTER SUBSCRIPTION ${place.slot} SET (slot_name = NONE)`)
        await run(downstream, `DROP SUBSCRIPTION ${place.slot}`)
      },
    }
  },
}
