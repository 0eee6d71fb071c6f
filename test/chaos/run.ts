import { setTimeout as sleep } from 'node:timers/promises'
import { look } from '../support/load.ts'
import { Reader } from '../support/reader.ts'
import { script } from '../support/sql.ts'
import {
  beginAnew,
  bulkRows,
  killsWhileCopying,
  leftOver,
  lookAtCopied,
  lookOnceReady,
  withData,
} from './beginning.ts'
import { sightings } from './canary.ts'
import { caughtUp, committed, entriesOf, type Look, Order, quietPoint } from './checker.ts'
import type { Fault } from './faults.ts'
import type { Report } from './report.ts'
import { type CopiedTable, Truth } from './truth.ts'
import type { World } from './world.ts'

const quietEverySeconds = 60
/** A follow that begins with a copy begins anew after each quiet point. */
const anewEverySeconds = 20
/** A failpoint that is in vain so often is not there any more. */
const often = 6

/** One run in a world: accidents one after the other, a reader that looks all the time, quiet points in between. */
export class Run {
  private readonly world: World
  private readonly report: Report
  private readonly order = new Order()
  private looks: Look[] = []
  private readonly reader: Reader
  /** Looks at tables one by one, also while others are still to be copied. */
  private readonly copied: Reader | undefined
  private readonly copies: boolean
  private readonly truth = new Truth(bulkRows)
  private copiedSeen: CopiedTable[][] = []
  /** How many looks there were at a table that was copied, while another one waited. */
  amidst = 0
  private lastQuiet = 0
  private lastLooks = 0
  private lastCompared = 0

  constructor(world: World, report: Report) {
    this.world = world
    this.report = report
    const mayForget = world.synchronousCommit === 'off'
    this.copies = world.beginning === withData
    this.copied = this.copies
      ? new Reader(world.downstream, lookAtCopied, {
          mayLack: true,
          seen: (_grows, _anew, { waiting, copied }) => {
            if (!copied) return
            this.copiedSeen.push(copied as CopiedTable[])
            if (waiting !== 0) this.amidst++
          },
        })
      : undefined
    this.reader = new Reader(world.downstream, this.copies ? lookOnceReady : look, {
      mayForget,
      mayLack: this.copies,
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
    const every = this.copies ? anewEverySeconds : quietEverySeconds
    if (this.copies) await this.begun()
    for (const accident of accidents) {
      if (this.report.seconds > seconds || this.report.violations.length > 0) break
      await sleep(this.world.chance.below(500))
      await this.strike(accident)
      if (this.report.seconds - this.lastQuiet < every) continue
      await this.quiet()
      if (this.copies && this.report.seconds < seconds && this.report.violations.length === 0) {
        await beginAnew(this.world)
        await this.begun()
      }
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
    for (const name of report.failpointsNeverMet(often))
      report.violation(`no kill at ${name}, of ${often} or more that were to be`)
    if (this.copies && world.beginnings > 1 && this.amidst === 0)
      report.violation('no copied table was seen while another one waited')
    await world.daemon.stop()
    await world.load.stop().catch((error: Error) => report.violation(`the load: ${error.message}`))
    await reader.stop().catch((error: Error) => report.violation(error.message))
    await this.copied?.stop().catch((error: Error) => report.violation(error.message))
  }

  private async strike(accident: readonly Fault[]): Promise<void> {
    const { world } = this
    const kinds = await Promise.all(
      accident.map(async ({ kind, strike }) => {
        const became = await strike(world)
        const [, failpoint] = /^kill at (.*)/.exec(kind) ?? []
        if (failpoint) this.report.failpoint(failpoint, became === undefined)
        return typeof became === 'string' ? became : kind
      }),
    )
    await this.recover(kinds)
  }

  /** The follow has just begun, or begins yet: accidents until the copy is done. */
  private async begun(): Promise<void> {
    await this.recover(await killsWhileCopying(this.world, (name, met) => this.report.failpoint(name, met)))
  }

  private async recover(kinds: readonly string[]): Promise<void> {
    const { world, report } = this
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
    // Tables that are not one with the others yet can't be compared.
    const differences = this.copies ? await leftOver(world) : []
    differences.push(...(await quietPoint(world)))
    // What was seen until now is committed upstream by now.
    const [taken, copied] = [this.looks, this.copiedSeen]
    this.looks = []
    this.copiedSeen = []
    const decoded = await committed(world)
    this.order.add(entriesOf(decoded))
    report.violation(this.order.check(taken))
    this.truth.add(decoded)
    for (const tables of copied) report.violation(this.truth.check(tables))
    // What was seen says when it began; differences may be many.
    for (const wrong of differences) report.violation(wrong)
    this.sees()
    report.violation(this.reader.problem)
    report.violation(this.copied?.problem)
    for (const sighting of await sightings(world.canary, world.daemon.followers)) report.violation(sighting)
    world.daemon.forget()
    report.quiet(world.daemon.current.pid)
    world.load.release()
  }

  /** A judge that saw nothing has found nothing. */
  private sees(): void {
    const { report, reader, truth } = this
    if (reader.looks === this.lastLooks) report.violation('the reader saw nothing since the last quiet point')
    this.lastLooks = reader.looks
    if (this.copies && truth.compared === this.lastCompared)
      report.violation('no copied table was compared since the last quiet point')
    this.lastCompared = truth.compared
  }
}
