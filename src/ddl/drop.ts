import type { DdlMessage, DroppedObject } from '../model/ddl-message.ts'

/** Object types of pg_event_trigger_dropped_objects() whose DROP says it in other words. */
const keywords: Readonly<Record<string, string>> = {
  'statistics object': 'STATISTICS',
  'composite type': 'TYPE',
  'foreign-data wrapper': 'FOREIGN DATA WRAPPER',
}

/** Types that DROP takes as they are. What is missing here goes with another object or by an ALTER. */
const droppable = new Set([
  'access method',
  'aggregate',
  'cast',
  'collation',
  'composite type',
  'conversion',
  'domain',
  'extension',
  'foreign table',
  'function',
  'index',
  'language',
  'materialized view',
  'operator',
  'operator class',
  'operator family',
  'policy',
  'procedure',
  'rule',
  'schema',
  'sequence',
  'statistics object',
  'table',
  'text search configuration',
  'text search dictionary',
  'text search parser',
  'text search template',
  'transform',
  'trigger',
  'type',
  'view',
])

/** Types of which one DROP takes several, so that they may depend on one another. */
const listable = new Set([
  'domain',
  'foreign table',
  'function',
  'index',
  'materialized view',
  'procedure',
  'schema',
  'sequence',
  'table',
  'type',
  'view',
])

/**
 * DROP statements for what a command named (`original`) and `followed` holds; the rest went with it. Built from the
 * identities and not from the text, so that DROP TABLE a, b drops a where only a is followed, and IF EXISTS, so
 * that doing it again is nothing. CASCADE only where upstream's command dropped dependent objects.
 * None for commands other than DROP …: their text is replayed.
 */
export function synthesizeDrops(
  message: DdlMessage,
  followed: (object: DroppedObject) => boolean,
): readonly { readonly text: string; readonly objects: readonly DroppedObject[] }[] {
  if (!message.tag.startsWith('DROP ')) return []
  const cascade = message.dropped.some((object) => !object.original && object.normal) ? ' CASCADE' : ''
  const groups = new Map<string, DroppedObject[]>()
  for (const object of message.dropped) {
    if (!object.original || object.temporary || !droppable.has(object.type) || !followed(object)) continue
    const group = listable.has(object.type) ? object.type : `${object.type} ${object.identity}`
    const objects = groups.get(group)
    if (objects) objects.push(object)
    else groups.set(group, [object])
  }
  return [...groups.values()].map((objects) => {
    const { type } = objects[0]!
    const names = objects.map((object) => object.identity).join(', ')
    return { text: `DROP ${keywords[type] ?? type.toUpperCase()} IF EXISTS ${names}${cascade}`, objects }
  })
}
