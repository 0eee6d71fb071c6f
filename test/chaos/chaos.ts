import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Major } from '../support/binaries.ts'
import { look } from '../support/load.ts'
import { Reader } from '../support/reader.ts'
import { script } from '../support/sql.ts'
import { sightings } from './canary.ts'
import { caughtUp, committed, type Look, Order, quietPoint } from './checker.ts'
import { type Fault, faults } from './faults.ts'
import { Report } from './report.ts'
import { makeWorld, type World } from './world.ts'

const minutes = Number(process.env.FOLLOWER_CHAOS_MINUTES ?? 1)
const seed = Number(process.env.FOLLOWER_SEED ?? 1)
const mode = process.env.FOLLOWER_CHAOS_MODE ?? 'all'
const kind = process.env.FOLLOWER_CHAOS_KIND ?? ''
const [up, down] = (process.env.FOLLOWER_CHAOS_PAIR ?? '18-18').split('-').map(Number) as [Major, Major]
const quietEverySeconds = 60

/** Every kind once in an order of its own, again and again: a short run meets as many kinds as it has time for. */
function* schedule(world: World): Generator<Fault> {
  const chosen = faults.filter(
    (fault) =>
      (mode === 'all' || fault.group === mode) &&
      fault.kind.includes(kind) &&
      (fault.possible?.(world) ?? true),
  )
  if (chosen.length === 0) throw new Error(`no kind of accident has "${kind}" in its name here`)
  const list = chosen.flatMap((fault) => Array.from({ length: fault.weight ?? 1 }, () => fault))
  for (;;) yield* world.chance.shuffled(list)
}

/** One accident, or two at the same time where neither needs what the other one takes away. */
function* accidents(world: World): Generator<Fault[]> {
  let first: Fault | undefined
  for (const fault of schedule(world)) {
    if (first && mayMeet(first, fault) && world.chance.below(3) > 0) {
      yield [first, fault]
      first = undefined
    } else {
      if (first) yield [first]
      first = fault
    }
  }
}

function mayMeet(one: Fault, other: Fault): boolean {
  const groups = new Set([one.group, other.group])
  // Who talks to a session needs its server.
  return groups.size === 2 && !(groups.has('server') && groups.has('session'))
}

test(`${minutes} minutes of accidents`, { timeout: (minutes + 30) * 60_000 }, async () => {
  const world = await makeWorld([up, down], seed)
  await script(world.upstream, 'CREATE TABLE probe (id serial PRIMARY KEY)')
  const report = new Report()
  let looks: Look[] = []
  const order = new Order()
  await caughtUp(world, 60_000)
  const mayForget = world.synchronousCommit === 'off'
  const reader = new Reader(world.downstream, look, {
    mayForget,
    seen: ([entries, , ...highest], anew) =>
      looks.push({
        entries: entries!,
        highest: highest.map((n) => n ?? 0),
        mayForget: mayForget && anew,
      }),
  })
  const violation = (what: string | undefined): void => {
    if (what && report.violations.length < 20)
      report.violations.push(`after ${Math.round(report.seconds)} s: ${what}`)
  }
  const quiet = async (): Promise<void> => {
    await world.load.hold()
    for (const wrong of await quietPoint(world)) violation(wrong)
    // What was seen until now is committed upstream by now.
    const taken = looks
    looks = []
    order.add(await committed(world))
    violation(order.check(taken))
    violation(reader.problem)
    for (const sighting of await sightings(world.canary, world.daemon.followers)) violation(sighting)
    world.daemon.forget()
    report.quiet(world.daemon.current.pid)
    world.load.release()
  }

  let lastQuiet = 0
  for (const accident of accidents(world)) {
    if (report.seconds > minutes * 60 || report.violations.length > 0) break
    await sleep(world.chance.below(500))
    const kinds = await Promise.all(
      accident.map(async ({ kind, strike }) => {
        const became = await strike(world)
        return typeof became === 'string' ? became : kind
      }),
    )
    const struck = performance.now()
    // With each accident a row of the canary, in a transaction of its own.
    await script(world.upstream, `INSERT INTO secret (value) VALUES ('${world.canary.value}')`)
    await caughtUp(world, 180_000)
    const recovery = Math.round(performance.now() - struck)
    for (const kind of kinds) report.accident(kind, recovery)
    for (const failure of world.daemon.failures.splice(0)) violation(`${kinds.join(' and ')}: ${failure}`)
    if (world.load.failure) violation(`the load: ${String(world.load.failure)}`)
    if (report.seconds - lastQuiet < quietEverySeconds) continue
    await quiet()
    lastQuiet = report.seconds
    console.info(
      `${Math.round(lastQuiet)} s: ${report.accidents} accidents, ${order.seen} transactions, ${reader.looks} looks`,
    )
  }
  await quiet()
  await world.daemon.stop()
  await world.load.stop().catch((error: Error) => violation(`the load: ${error.message}`))
  await reader.stop().catch((error: Error) => violation(error.message))
  report.looks = reader.looks
  report.transactions = order.seen
  const figures = report.json({
    ...{ seed, minutes, mode, pair: `${up}-${down}` },
    ...{ synchronous_commit: world.synchronousCommit, starts: world.daemon.starts },
  })
  console.info(`${report.table()}\n${JSON.stringify({ ...figures, recovery_ms: undefined })}`)
  if (process.env.FOLLOWER_CHAOS_REPORT)
    writeFileSync(process.env.FOLLOWER_CHAOS_REPORT, JSON.stringify(figures, null, 1))
  expect(report.violations).toEqual([])
  expect(report.accidents).toBeGreaterThan(0)
  expect(reader.looks).toBeGreaterThan(report.accidents)
})
