import { parseArgs } from 'node:util'

export const usage = `npm run bench -- [--quick | --full] [--runs N] [--scale F] [--growth] [--only W1,L500,G10,C1,P2] [--json FILE]

  --quick     one run of a tenth of everything, copies left out: under 3 minutes
              without it or --full: three runs of a quarter, under 15 minutes
  --full      five runs at full size: what the targets are stated for
  --growth    G10 and G20 at full size: 10 M and 20 M changes
  --runs N    paired runs: every consumer once in each
  --scale F   part of the full size
  --only      of W1-W6 (drained backlogs), L500 and L2000 (latency), G10 and G20 (growth), C1 and C2 (copies), P1-P3 (peers on PostgreSQL 15)
  --json      all figures, of each turn, for machines`

/** How much of everything: the one place where sizes are chosen. */
export interface Options {
  readonly size: 'quick' | 'default' | 'full'
  readonly runs: number
  /** Of the drained backlogs. */
  readonly scale: number
  readonly latency: { readonly runs: number; readonly seconds: number }
  readonly growthScale: number
  readonly copies: { readonly runs: number; readonly scale: number }
  readonly peers: { readonly runs: number; readonly scale: number }
  readonly json: string | undefined
  selected(name: string): boolean
}

const sizes = {
  quick: { runs: 1, scale: 0.1, latencyRuns: 1, seconds: 3, growth: 0.01, copies: 0.1, peers: 0.05 },
  default: { runs: 3, scale: 0.25, latencyRuns: 3, seconds: 6, growth: 0.05, copies: 0.1, peers: 0.1 },
  full: { runs: 5, scale: 1, latencyRuns: 5, seconds: 20, growth: 0.1, copies: 1, peers: 1 },
} as const

/** What is left out unless it is named. */
const leftOut: Readonly<Record<Options['size'], readonly string[]>> = {
  quick: ['C1', 'C2', 'P1', 'P3'],
  default: ['C2', 'P1', 'P3'],
  full: [],
}

/** Undefined where only help is asked for. */
export function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      full: { type: 'boolean', default: false },
      growth: { type: 'boolean', default: false },
      runs: { type: 'string' },
      scale: { type: 'string' },
      only: { type: 'string', default: '' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const size = values.quick ? 'quick' : values.full ? 'full' : 'default'
  const chosen = sizes[size]
  const only = values.only.split(',').filter(Boolean)
  const runs = values.runs === undefined ? undefined : positive('--runs', values.runs)
  const scale = values.scale === undefined ? undefined : positive('--scale', values.scale)
  return {
    size,
    runs: runs ?? chosen.runs,
    scale: scale ?? chosen.scale,
    latency: { runs: runs ?? chosen.latencyRuns, seconds: chosen.seconds },
    growthScale: values.growth ? 1 : chosen.growth,
    copies: { runs: runs ?? 1, scale: scale ?? chosen.copies },
    peers: { runs: runs ?? 1, scale: scale ?? chosen.peers },
    json: values.json,
    selected: (name) => (only.length > 0 ? only.includes(name) : !leftOut[size].includes(name)),
  }
}

function positive(name: string, text: string): number {
  const n = Number(text)
  if (!(n > 0)) throw new TypeError(`${name} ${text} is not a number above 0`)
  return n
}
