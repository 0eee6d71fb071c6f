import { writeSync } from 'node:fs'

/**
 * Failpoints: named instants at which a test kills, breaks or holds this process.
 *
 *     FOLLOWER_FAILPOINT=name:action:n[,name:action:n…]
 *
 * Off unless the variable is set; then the n-th hit of `name` does `action`:
 * `kill9` (SIGKILL to itself), `throw` (an error), `hang` (never goes on), `drop` (the caller cuts its connection),
 * `crash` and `reject` (an exception, a promise, that nobody catches).
 */
export const failpointNames = [
  'connect.upstream',
  'connect.downstream',
  'start.captured',
  'start.progress',
  'start.slot',
  'stream.received',
  'apply.begin',
  'apply.mid-batch',
  'apply.before-commit',
  'apply.commit-sent',
  'apply.committed',
  'arriving.part',
  'arriving.before-commit',
  'progress.acknowledge',
  'progress.acknowledged',
  'progress.keepalive',
  'ddl.before',
  'ddl.replayed',
  'ddl.checked',
  'copy.schema',
  'copy.table',
  'copy.begun',
  'copy.before-commit',
  'copy.committed',
  'copy.step',
  'copy.done',
  'copy.late',
  'copy.behind',
  'copy.caught-up',
  'pull.copied',
  'pull.window',
  'pull.advance',
  'pull.switch',
  'shutdown.draining',
] as const

export type FailpointName = (typeof failpointNames)[number]
type Action = 'kill9' | 'throw' | 'hang' | 'drop' | 'crash' | 'reject'

interface Armed {
  readonly action: Action
  readonly at: number
}

const hits = new Map<FailpointName, number>()
const armed = parse(process.env.FOLLOWER_FAILPOINT)

function parse(text: string | undefined): ReadonlyMap<FailpointName, Armed> {
  const result = new Map<FailpointName, Armed>()
  for (const part of text?.split(',').filter(Boolean) ?? []) {
    const [name, action, n] = part.split(':')
    const at = Number(n ?? '1')
    if (
      !failpointNames.includes(name as FailpointName) ||
      !/^(kill9|throw|hang|drop|crash|reject)$/.test(action ?? '') ||
      !(at >= 1)
    )
      throw new TypeError(
        `FOLLOWER_FAILPOINT: ${part} is not name:action:n; names are ${failpointNames.join(', ')}`,
      )
    result.set(name as FailpointName, { action: action as Action, at })
  }
  return result
}

/** How often each failpoint was reached; counted only while any is armed. */
export function failpointHits(): ReadonlyMap<FailpointName, number> {
  return hits
}

/**
 * Marks an instant. Returns undefined (nothing to do), or what the caller has to do itself: wait for the
 * promise (`hang`), or cut its connection (`drop`). Costs one size check while nothing is armed.
 */
export function failpoint(name: FailpointName): Promise<never> | 'drop' | undefined {
  if (armed.size === 0) return undefined
  const count = (hits.get(name) ?? 0) + 1
  hits.set(name, count)
  const entry = armed.get(name)
  if (!entry || entry.at !== count) return undefined
  // Synchronous, since the next line may be the process's last: the test counts these lines.
  writeSync(2, `failpoint ${name} ${entry.action} hit ${count}\n`)
  switch (entry.action) {
    case 'kill9':
      process.kill(process.pid, 'SIGKILL')
      return new Promise<never>(() => {})
    case 'throw':
      throw new Error(`failpoint ${name}`)
    case 'hang':
      return new Promise<never>(() => {})
    case 'drop':
      return 'drop'
    case 'crash':
      setImmediate(() => {
        throw new Error(`failpoint ${name}`)
      })
      return undefined
    case 'reject':
      void Promise.reject(new Error(`failpoint ${name}`))
      return undefined
  }
}
