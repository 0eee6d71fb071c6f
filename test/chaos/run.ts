import { setTimeout as sleep } from 'node:timers/promises'
import { look } from '../support/load.ts'
import { Reader } from '../support/reader.ts'
import { script } from '../support/sql.ts'
import { sightings } from './canary.ts'
import { caughtUp, committed, type Look, Order, quietPoint } from './checker.ts'
import type { Fault } from './faults.ts'
import type { Report } from './report.ts'
import type { World } from './world.ts'

const quietEverySeconds = 60

/** One run in a world: accidents one after the other, a reader that looks all the time, quiet points in between. */
export class Run {
  private readonly world: World
  private readonly report: Report
  private readonly order = new Order()
  private looks: Look[] = []
  private readonly reader: Reader
  private lastQuiet = 0

  constructor(world: World, report: Report) {
    this.world = world
    this.report = report
    const mayForget = world.synchronousCommit === 'off'
    this.reader = new Reader(world.downstream, look, {
      mayForget,
      seen: ([entries, , ...highest], anew) =>
        this.looks.push({
          entries: entries!,
          highest: highest.map((n) => n ?? 0),
          mayForget: mayForget && anew,
        }),
    })
  }

  /** Lets accidents happen for so many seconds, or until something is wrong. */
  async go(accidents: Iterable<readonly Fault[]>, seconds: number): Promise<void> {
    for (const accident of accidents) {
      if (this.report.seconds > seconds || this.report.violations.length > 0) break
      await sleep(this.world.chance.below(500))
      await this.strike(accident)
      if (this.report.seconds - this.lastQuiet < quietEverySeconds) continue
      await this.quiet()
      this.lastQuiet = this.report.seconds
      console.info(
        `${Math.round(this.lastQuiet)} s: ${this.report.accidents} accidents, ${this.order.seen} transactions, ${this.reader.looks} looks`,
      )
    }
    await this.quiet()
  }

  async end(): Promise<void> {
    const { world, report, reader } = this
    report.looks = reader.looks
    report.transactions = this.order.seen
    await world.daemon.stop()
    await world.load.stop().catch((error: Error) => report.violation(`the load: ${error.message}`))
    await reader.stop().catch((error: Error) => report.violation(error.message))
  }

  private async strike(accident: readonly Fault[]): Promise<void> {
    const { world, report } = this
    const kinds = await Promise.all(
      accident.map(async ({ kind, strike }) => {
        const became = await strike(world)
        return typeof became === 'string' ? became : kind
      }),
    )
    const struck = performance.now()
    // With each accident a row of the canary, in a transaction of its own.
    await script(world.upstream, `INSERT INTO secret (value) VALUES ('${world.canary.value}')`)
    await caughtUp(world, 180_000).catch((error: Error) => {
      throw new Error(`after ${kinds.join(' and ')}: ${error.message}`)
    })
    const recovery = Math.round(performance.now() - struck)
    for (const kind of kinds) report.accident(kind, recovery)
    for (const failure of world.daemon.failures.splice(0))
      report.violation(`${kinds.join(' and ')}: ${failure}`)
    if (world.load.failure) report.violation(`the load: ${String(world.load.failure)}`)
  }

  private async quiet(): Promise<void> {
    const { world, report } = this
    await world.load.hold()
    for (const wrong of await quietPoint(world)) report.violation(wrong)
    // What was seen until now is committed upstream by now.
    const taken = this.looks
    this.looks = []
    this.order.add(await committed(world))
    report.violation(this.order.check(taken))
    report.violation(this.reader.problem)
    for (const sighting of await sightings(world.canary, world.daemon.followers)) report.violation(sighting)
    world.daemon.forget()
    report.quiet(world.daemon.current.pid)
    world.load.release()
  }
}
