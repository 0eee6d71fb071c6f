import type pg from 'pg'
import { objectAt, plainPlaces, type StepWave, sideBySide } from '../copy/archive.ts'
import { CopyFailed } from '../copy/transfer.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { isTransient, sqlstate } from '../postgres/sqlstate.ts'
import { ask, column } from '../provision/query.ts'
import type { CopyContext } from './context.ts'
import { copyError } from './copy-error.ts'
import type { CopyPorts } from './copy-port.ts'

interface Step {
  readonly number: string
  readonly wave: StepWave
  readonly label: string
  readonly statement: string
}

/** For indexes and constraints, unless the server allows more. */
const memory =
  "SELECT set_config('maintenance_work_mem', '256MB', false) FROM pg_settings WHERE name = 'maintenance_work_mem' AND setting::bigint < 262144"

/** Rows that were just written are in memory: to have other processes read them takes more CPU than to read them (PostgreSQL 18). */
const reads =
  "SELECT set_config('effective_io_concurrency', '0', false) FROM pg_settings WHERE name = 'io_method' AND setting = 'worker'"

/** Which waves of steps are left of a copied schema. */
export async function leftWaves(downstream: pg.Client, name: string): Promise<ReadonlySet<StepWave>> {
  const found = await ask(
    downstream,
    'downstream',
    'SELECT DISTINCT wave FROM follower.copy_step WHERE follow = $1',
    [name],
  )
  return new Set(found.map((row) => column(row, 'wave') as StepWave))
}

/**
 * Runs the steps of the waves, one wave after the other. Each is committed with its removal, so that none runs twice. Throws
 * FollowerError (FLW-351) with the one that failed; it and what comes after it are left for the next start.
 */
export async function runSteps(
  context: CopyContext,
  ports: CopyPorts,
  epoch: bigint,
  waves: readonly StepWave[],
): Promise<void> {
  const { settings, connections, log } = context
  for (const wave of waves) {
    const found = await ask(
      connections.lock,
      'downstream',
      'SELECT number, wave, label, statement FROM follower.copy_step WHERE follow = $1 AND wave = $2 ORDER BY number',
      [settings.name, wave],
    )
    if (found.length === 0) continue
    const steps = found.map((row) => ({
      number: column(row, 'number'),
      wave,
      label: column(row, 'label'),
      statement: column(row, 'statement'),
    }))
    const began = performance.now()
    const left = { downstream: settings.name }
    let toMake = steps.length
    context.metrics.copySteps.set(left, toMake)
    await sideBySideOrNot(steps, sideBySide.includes(wave) ? settings.copying.jobs : 1, async (todo) => {
      const { downstream, close } = await ports.connect()
      try {
        await downstream.query(memory)
        await downstream.query(reads)
        await downstream.query(plainPlaces)
        for (let step = todo.shift(); step; step = todo.shift()) {
          await runStep(downstream, settings.name, epoch, step)
          context.metrics.copySteps.set(left, --toMake)
        }
      } finally {
        await close()
      }
    }).catch((error: unknown) => {
      throw copyError(error, settings)
    })
    const seconds = (performance.now() - began) / 1000
    log.info({ wave, steps: found.length }, `made ${found.length} ${wave} in ${seconds.toFixed(1)} s`)
    context.health.beat()
    context.progressed()
  }
}

async function sideBySideOrNot(
  steps: Step[],
  jobs: number,
  work: (left: Step[]) => Promise<void>,
): Promise<void> {
  let failure: unknown
  const workers = Array.from({ length: Math.min(jobs, steps.length) }, () =>
    work(steps).catch((error: unknown) => {
      failure ??= error
      steps.length = 0
    }),
  )
  await Promise.all(workers)
  if (failure !== undefined) throw failure
}

async function runStep(client: pg.Client, name: string, epoch: bigint, step: Step): Promise<void> {
  for (;;) {
    try {
      await client.query('BEGIN')
      await client.query(step.statement)
      await client.query('SELECT follower.hold_progress($1, $2)', [name, String(epoch)])
      await client.query('DELETE FROM follower.copy_step WHERE follow = $1 AND number = $2', [
        name,
        step.number,
      ])
      await failpointOn('copy.step', client)
      await client.query('COMMIT')
      return
    } catch (error) {
      // Two foreign keys that lock the same tables.
      if (sqlstate(error) !== '40P01') throw stepError(error, step)
      await client.query('ROLLBACK')
    }
  }
}

const early = 'the rows are there, and this and what comes after it is not; nothing follows yet'
const effects: Readonly<Partial<Record<StepWave, string>>> = {
  schema: 'a part of the schema is there, and this and what comes after it is not; nothing is copied yet',
  indexes: early,
  objects: early,
}

function stepError(error: unknown, step: Step): unknown {
  if (sqlstate(error) === 'FLW11' || isTransient(error)) return new CopyFailed('downstream', error as Error)
  const { message, detail, position } = error as Error & { detail?: string; position?: string }
  const object = step.wave === 'schema' && position ? objectAt(step.statement, Number(position)) : undefined
  return new FollowerError(`${object ?? step.label} could not be made downstream: ${message}`, {
    code: 'FLW-351',
    exit: ExitCode.apply,
    // Of keys only.
    ...(['23505', '23503'].includes(sqlstate(error) ?? '') && detail ? { detail } : {}),
    effect: effects[step.wave] ?? 'the rows are there, and this and what comes after it is not',
    fix: ['remove the cause downstream, then start again: it goes on here'],
    sqlstate: sqlstate(error),
    cause: error,
  })
}
