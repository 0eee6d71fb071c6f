import type { WebAddress } from '../telemetry/web.ts'
import { ValueProblem } from './value-problem.ts'

/** Served unless the user says otherwise, and not missed where something else has it. */
export const defaultWebAddress: WebAddress = { host: '127.0.0.1', port: 9577, chosen: false }

/** Parses `host:port`, `[address]:port`, or `off`. Port 0 lets the system choose one. */
export function parseWebAddress(text: string): WebAddress | 'off' {
  if (text === 'off') return 'off'
  const match = /^(?:\[([^\]]+)\]|([^:\s[\]]+)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || port > 65_535)
    throw new ValueProblem(`${text} is no address; write host:port such as 0.0.0.0:9577, or off`)
  return { host, port, chosen: true }
}
