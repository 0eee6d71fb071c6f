import { writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { Major } from '../support/binaries.ts'
import { withData } from './beginning.ts'
import { caughtUp } from './checker.ts'
import { type Fault, faults } from './faults.ts'
import { Report } from './report.ts'
import { Run } from './run.ts'
import { empty, makeWorld, type World } from './world.ts'

const minutes = Number(process.env.FOLLOWER_CHAOS_MINUTES ?? 1)
const seed = Number(process.env.FOLLOWER_SEED ?? 1)
const mode = process.env.FOLLOWER_CHAOS_MODE ?? 'all'
const kind = process.env.FOLLOWER_CHAOS_KIND ?? ''
const begins = process.env.FOLLOWER_CHAOS_BEGIN ?? 'empty'
const [up, down] = (process.env.FOLLOWER_CHAOS_PAIR ?? '18-18').split('-').map(Number) as [Major, Major]

/** Every kind once in an order of its own, again and again: a short run meets as many kinds as it has time for. */
function* rounds(world: World): Generator<Fault[]> {
  const chosen = faults.filter(
    (fault) =>
      (mode === 'all' || fault.group === mode) &&
      fault.kind.includes(kind) &&
      (fault.possible?.(world) ?? true),
  )
  if (chosen.length === 0) throw new Error(`no kind of accident has "${kind}" in its name here`)
  const list = chosen.flatMap((fault) => Array.from({ length: fault.weight ?? 1 }, () => fault))
  for (;;) yield world.chance.shuffled(list)
}

/** Up to three accidents at the same time, where none needs what another one takes away. */
function* accidents(world: World): Generator<Fault[]> {
  for (const left of rounds(world)) {
    for (let first = left.shift(); first; first = left.shift()) {
      const together = [first]
      while (together.length < 3 && world.chance.below(4) > 0) {
        const at = left.findIndex((fault) => together.every((other) => mayMeet(other, fault)))
        if (at < 0) break
        together.push(...left.splice(at, 1))
      }
      yield together
    }
  }
}

function mayMeet(one: Fault, other: Fault): boolean {
  const groups = new Set([one.group, other.group])
  // Who talks to a session needs its server.
  return groups.size === 2 && !(groups.has('server') && groups.has('session'))
}

test(`${minutes} minutes of accidents`, { timeout: (minutes + 30) * 60_000 }, async () => {
  const report = new Report()
  const about: Record<string, unknown> = {
    seed,
    minutes,
    mode,
    kind,
    begins,
    plugin: process.env.FOLLOWER_CHAOS_PLUGIN,
    pair: `${up}-${down}`,
  }
  try {
    const world = await makeWorld([up, down], seed, begins === 'copy' ? withData : empty)
    if (begins === 'empty') await caughtUp(world, 60_000)
    const run = new Run(world, report)
    try {
      await run.go(accidents(world), minutes * 60)
    } finally {
      await run.end()
      about.synchronous_commit = world.synchronousCommit
      about.starts = world.daemon.starts
      if (begins === 'copy') about.beginnings = world.beginnings
      if (begins === 'copy') about.looks_amidst_copies = run.amidst
    }
  } catch (error) {
    report.violation(`it came to no end: ${error instanceof Error ? error.message : String(error)}`)
  }
  const figures = report.json(about)
  console.info(`${report.table()}\n${JSON.stringify({ ...figures, recovery_ms: undefined })}`)
  if (process.env.FOLLOWER_CHAOS_REPORT)
    writeFileSync(process.env.FOLLOWER_CHAOS_REPORT, JSON.stringify(figures, null, 1))
  expect(report.violations).toEqual([])
  expect(report.accidents).toBeGreaterThan(0)
  expect(report.looks).toBeGreaterThan(report.accidents)
})
