import { readdirSync, readFileSync } from 'node:fs'

/** What became of the accidents of one kind. */
interface Kind {
  readonly recoveries: number[]
}

/** Figures of one run, as JSON and as a table. */
export class Report {
  readonly violations: string[] = []
  readonly quietPoints: { seconds: number; rss: number; descriptors: number }[] = []
  looks = 0
  transactions = 0
  private readonly kinds = new Map<string, Kind>()
  private readonly failpoints = new Map<string, { met: number; unmet: number }>()
  private readonly began = performance.now()

  get seconds(): number {
    return (performance.now() - this.began) / 1000
  }

  /** Something that must not be; of many the first are kept. */
  violation(what: string | undefined): void {
    if (what && this.violations.length < 20)
      this.violations.push(`after ${Math.round(this.seconds)} s: ${what}`)
  }

  /** One accident, and how many milliseconds after it the downstream had again what was committed upstream. */
  accident(kind: string, recovery: number): void {
    const known = this.kinds.get(kind) ?? { recoveries: [] }
    known.recoveries.push(recovery)
    this.kinds.set(kind, known)
  }

  /** The follower was to die at a failpoint, and came there, or not in time. */
  failpoint(name: string, met: boolean): void {
    const known = this.failpoints.get(name) ?? { met: 0, unmet: 0 }
    known[met ? 'met' : 'unmet']++
    this.failpoints.set(name, known)
  }

  /** Those that it never came to, of so many times or more. */
  failpointsNeverMet(times = 1): string[] {
    return [...this.failpoints].flatMap(([name, { met, unmet }]) =>
      met === 0 && unmet >= times ? [name] : [],
    )
  }

  /** Memory and open files of a process that has caught up. */
  quiet(pid: number): void {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8')
      const rss = Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024
      const descriptors = readdirSync(`/proc/${pid}/fd`).length
      this.quietPoints.push({ seconds: Math.round(this.seconds), rss: Math.round(rss), descriptors })
    } catch {
      // It has just ended.
    }
  }

  get accidents(): number {
    return [...this.kinds.values()].reduce((sum, { recoveries }) => sum + recoveries.length, 0)
  }

  json(about: Readonly<Record<string, unknown>>) {
    const kinds = [...this.kinds].toSorted(([a], [b]) => (a < b ? -1 : 1))
    return {
      ...about,
      seconds: Math.round(this.seconds),
      accidents: this.accidents,
      kinds: this.kinds.size,
      kills_at_failpoints: kinds
        .filter(([kind]) => kind.startsWith('kill at '))
        .reduce((sum, [, { recoveries }]) => sum + recoveries.length, 0),
      failpoints_never_met: this.failpointsNeverMet(),
      transactions: this.transactions,
      looks: this.looks,
      quiet_points: this.quietPoints.length,
      violations: this.violations,
      rss_mb: {
        worst: Math.max(0, ...this.quietPoints.map(({ rss }) => rss)),
        an_hour: slope(this.quietPoints, 'rss'),
      },
      descriptors: {
        worst: Math.max(0, ...this.quietPoints.map(({ descriptors }) => descriptors)),
        an_hour: slope(this.quietPoints, 'descriptors'),
      },
      recovery_ms: Object.fromEntries(
        kinds.map(([kind, { recoveries }]) => [
          kind,
          { count: recoveries.length, median: median(recoveries), worst: Math.max(...recoveries) },
        ]),
      ),
    }
  }

  table(): string {
    const rows = [...this.kinds].toSorted(([a], [b]) => (a < b ? -1 : 1))
    const width = Math.max(20, ...rows.map(([kind]) => kind.length))
    const line = (cells: readonly (string | number)[]) =>
      `${String(cells[0]).padEnd(width)} ${cells
        .slice(1)
        .map((cell) => String(cell).padStart(8))
        .join('')}`
    return [
      line(['accident', 'times', 'median', 'worst ms']),
      ...rows.map(([kind, { recoveries }]) =>
        line([kind, recoveries.length, median(recoveries), Math.max(...recoveries)]),
      ),
    ].join('\n')
  }
}

function median(list: readonly number[]): number {
  return list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0
}

/** Growth an hour, by least squares; 0 for fewer than three points. */
function slope(
  points: readonly { seconds: number; rss: number; descriptors: number }[],
  of: 'rss' | 'descriptors',
): number {
  if (points.length < 3) return 0
  const n = points.length
  const x = points.reduce((sum, point) => sum + point.seconds, 0) / n
  const y = points.reduce((sum, point) => sum + point[of], 0) / n
  const up = points.reduce((sum, point) => sum + (point.seconds - x) * (point[of] - y), 0)
  const down = points.reduce((sum, point) => sum + (point.seconds - x) ** 2, 0)
  return down === 0 ? 0 : Math.round((up / down) * 3600 * 10) / 10
}
