import type { ObjectState } from '../model/ddl-message.ts'

/** The only aspect of the state of an object whose class `follower.object_state` does not know. */
const unknownClass = '?'
/** Starts the name of an aspect whose text is printed differently by majors. */
const sameMajorOnly = '~'
/** Longer texts are cut to what is around their first difference. */
const shown = 160

/**
 * Compares what the upstream's catalog held about an object with what the downstream's holds after the replay, both as
 * `follower.object_state` gives them. What the upstream has must be equal downstream; the downstream may have more: a local index,
 * a grant to a local role. `null` downstream: the object does not exist there.
 *
 * Returns one line per difference, sorted by aspect: `aspect: upstream …, downstream …`; empty where there is none, and where
 * the class is one that follower knows no state for.
 */
export function compareState(
  upstream: ObjectState,
  downstream: ObjectState | null,
  sameMajor: boolean,
): readonly string[] {
  if (Object.hasOwn(upstream, unknownClass)) return []
  if (downstream === null) return ['the object exists upstream, not downstream']
  const [above, below] = sameMajor ? [upstream, downstream] : [unquoted(upstream), unquoted(downstream)]
  return Object.keys(above)
    .filter((aspect) => sameMajor || !aspect.startsWith(sameMajorOnly))
    .filter((aspect) => above[aspect] !== own(below, aspect))
    .sort()
    .map((aspect) => {
      const [here, there] = excerpts(above[aspect] ?? '', own(below, aspect))
      const name = aspect.startsWith(sameMajorOnly) ? aspect.slice(sameMajorOnly.length) : aspect
      return `${name}: upstream ${here}, downstream ${there}`
    })
}

/** All names are in quotes but those that a major has words of its own for: json is one from 17 on, "json" before. */
function unquoted(state: ObjectState): ObjectState {
  const plain = (text: string): string => text.replace(/"([a-z_][a-z0-9_$]*)"/g, '$1')
  return Object.fromEntries(Object.entries(state).map(([aspect, text]) => [plain(aspect), plain(text)]))
}

/** A column named `constructor` must not find Object's. */
function own(state: ObjectState, aspect: string): string | undefined {
  return Object.hasOwn(state, aspect) ? state[aspect] : undefined
}

/** Both texts, as short as shows where they differ. */
function excerpts(upstream: string, downstream: string | undefined): readonly [string, string] {
  if (downstream === undefined) return [cut(upstream, 0), 'has none']
  let same = 0
  while (same < upstream.length && upstream[same] === downstream[same]) same += 1
  const from = Math.max(upstream.length, downstream.length) <= shown ? 0 : Math.max(0, same - shown / 4)
  return [cut(upstream, from), cut(downstream, from)]
}

function cut(text: string, from: number): string {
  if (text === '') return '(empty)'
  const start = from > 0 ? '…' : ''
  const end = text.length > from + shown ? '…' : ''
  return start + text.slice(from, from + shown) + end
}
