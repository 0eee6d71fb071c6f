import type { DdlMessage } from '../model/ddl-message.ts'
import type { Candidates } from './candidates.ts'
import type { DdlContext } from './context.ts'
import { tableFromState, withoutData } from './create-table-as.ts'
import { replayDetach } from './detach.ts'
import { executeAs } from './execute.ts'
import { replayFilling } from './rewrite.ts'
import { withoutConcurrently } from './statement.ts'
import { createsTableAs } from './transaction.ts'
import type { Truth } from './truth.ts'

/** One way of doing what a message tells. */
export interface Way {
  readonly text: string
  run(role: string): Promise<void>
  /** Takes its statement as the one that fired the event. */
  accept(): void
}

/** The ways to be tried in turn. The comparison of states says which one was right; without one, only the first counts, or none. */
export function waysOf(
  message: DdlMessage,
  candidates: Candidates,
  truths: readonly Truth[],
  context: DdlContext,
): readonly Way[] {
  const settings = settingsOf(message)
  if (createsTableAs(message.tag)) {
    const texts = [
      ...candidates.list.map(({ statement }) => withoutData(statement)),
      tableFromState(message, context.columnOrder?.(message)),
    ].filter((text) => text !== undefined)
    return texts.map((text) => ({
      text,
      accept: () => candidates.list[0]?.accept(),
      run: (role) => executeAs(context, role, settings, text),
    }))
  }
  const ways = candidates.list.map(({ statement, accept }) => {
    const text = withoutConcurrently(statement)
    const run = (role: string): Promise<void> =>
      replayDetach(message, statement, role, context, () =>
        replayFilling(message, statement, role, context, () => executeAs(context, role, settings, text)),
      )
    return { text, accept, run }
  })
  return truths.length === 0 && !candidates.ambiguous ? ways.slice(0, 1) : ways
}

/** Settings under which the text means the same. The wall sets the role; bodies of functions may name what is not followed. */
export function settingsOf(message: DdlMessage): Record<string, string> {
  const { role: _role, check_function_bodies: _bodies, ...settings } = message.settings
  return settings
}
