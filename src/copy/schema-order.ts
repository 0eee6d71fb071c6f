import { type CopyStep, type StepWave, sideBySide } from './archive.ts'

/** What the catalog knows an object by: the table that has its row, and its OID. */
export interface Address {
  readonly catalog: string
  readonly object: string
}

/** An object, or a part of one, that is made by a statement of its own (sql/query/schema/). */
export interface SchemaItem extends Address {
  readonly kind: string
  readonly schema: string
  readonly name: string
  readonly statement: string
}

/** Something that is said of an object once it is made: a comment, a grant. */
export interface SchemaAddition extends Address {
  readonly statement: string
}

export interface SchemaParts {
  readonly items: readonly SchemaItem[]
  readonly additions: readonly SchemaAddition[]
  /** What has no item, or belongs to something: of what it is a part. */
  readonly parts: readonly (readonly [part: Address, of: Address])[]
  readonly needs: readonly (readonly [needing: Address, needed: Address])[]
}

/** Objects that no order of their statements makes: they need one another, or tables need what can't be there before rows are. */
export class NoOrder extends Error {
  override name = 'NoOrder'
  readonly objects: readonly string[]

  constructor(why: string, objects: readonly string[]) {
    super(`${why}: ${objects.join(', ')}`)
    this.objects = objects
  }
}

/** In this order where no dependency says otherwise, and when. */
const kinds: Readonly<Record<string, StepWave>> = {
  SCHEMA: 'schema',
  EXTENSION: 'schema',
  COLLATION: 'schema',
  TYPE: 'schema',
  DOMAIN: 'schema',
  FUNCTION: 'schema',
  PROCEDURE: 'schema',
  AGGREGATE: 'schema',
  TABLE: 'schema',
  SEQUENCE: 'schema',
  IDENTITY: 'schema',
  DEFAULT: 'schema',
  'TABLE ATTACH': 'schema',
  VIEW: 'schema',
  'MATERIALIZED VIEW': 'schema',
  ACL: 'schema',
  INDEX: 'indexes',
  CONSTRAINT: 'indexes',
  'CHECK CONSTRAINT': 'objects',
  'INDEX ATTACH': 'objects',
  STATISTICS: 'objects',
  RULE: 'objects',
  TRIGGER: 'objects',
  'ROW SECURITY': 'objects',
  POLICY: 'objects',
  'EVENT TRIGGER': 'objects',
  // What is made before them is granted by itself.
  'DEFAULT ACL': 'objects',
  'FK CONSTRAINT': 'foreign keys',
}
/** What rows are copied into has to be there before them. */
const beforeRows = ['TABLE', 'TABLE ATTACH']
const ranks = new Map(Object.keys(kinds).map((kind, i) => [kind, i]))
const times: readonly StepWave[] = ['schema', 'indexes', 'objects', 'foreign keys', 'last']

const key = ({ catalog, object }: Address): string => `${catalog} ${object}`
const label = ({ kind, schema, name }: SchemaItem): string => `${kind} ${schema} ${name}`

/**
 * Pure: the statements that make a schema, each after what it needs: scripts for before the rows, and steps for after them. An
 * object that needs what comes after the rows (a view that groups by a primary key) comes after it. `items` are those without follower's and
 * extensions' own, `holds` tells what belongs to them, and `homeless` is said of nothing that is made. Throws NoOrder.
 */
export function orderSchema(schema: SchemaParts): {
  readonly before: readonly string[]
  readonly after: readonly CopyStep[]
  readonly items: readonly SchemaItem[]
  readonly holds: (place: Address) => boolean
  readonly homeless: readonly SchemaAddition[]
} {
  const parts = new Map(schema.parts.map(([part, of]) => [key(part), key(of)]))
  const carried = schema.items.filter((item) => !isForeign(item, parts))
  const foreign = new Set(schema.items.filter((item) => isForeign(item, parts)).map(key))
  const items = new Map(carried.map((item) => [key(item), item]))
  const itemOf = (place: string): SchemaItem | undefined => {
    let at: string | undefined = place
    while (at !== undefined && !items.has(at)) at = parts.get(at)
    return at === undefined ? undefined : items.get(at)
  }
  const needs = new Map<SchemaItem, Set<SchemaItem>>(carried.map((item) => [item, new Set()]))
  for (const [needing, needed] of schema.needs) {
    const [from, to] = [itemOf(key(needing)), itemOf(key(needed))]
    if (from && to && from !== to) needs.get(from)!.add(to)
  }
  const texts = new Map<SchemaItem, string[]>(carried.map((item) => [item, [item.statement]]))
  const homeless: SchemaAddition[] = []
  for (const addition of schema.additions) {
    const item = itemOf(key(addition))
    if (!item && !within(foreign, key(addition), parts)) homeless.push(addition)
    if (item && (item.kind !== 'EXTENSION' || addition.catalog === item.catalog))
      texts.get(item)!.push(addition.statement)
  }

  const before: string[] = []
  const after: CopyStep[] = []
  const when = new Map<SchemaItem, number>()
  for (const item of inOrder(carried, needs)) {
    const time = timeOf(item, needs.get(item)!, when)
    when.set(item, time)
    if (time > 0 && beforeRows.includes(item.kind))
      throw new NoOrder('these are needed before the rows, and need what comes after them', [
        label(item),
        ...[...needs.get(item)!].filter((other) => when.get(other)! > 0).map(label),
      ])
    const statements = texts.get(item)!.filter((text) => text !== '')
    if (statements.length === 0) continue
    const statement = `${statements.join(';\n')};`
    const wave = times[time]!
    if (wave === 'schema') before.push(`${heading(item)}\n${statement}\n`)
    else after.push({ wave, label: label(item), statement })
  }
  return {
    before,
    after: after.toSorted((a, b) => waveRank(a) - waveRank(b)),
    items: carried,
    holds: (place) => itemOf(key(place)) !== undefined,
    homeless,
  }
}

/** Whether it, or what it is a part of, is among them. */
function within(places: ReadonlySet<string>, place: string, parts: ReadonlyMap<string, string>): boolean {
  for (let at: string | undefined = place; at !== undefined; at = parts.get(at))
    if (places.has(at) || at.startsWith('pg_extension ')) return true
  return false
}

const waveRank = ({ wave }: CopyStep): number => times.indexOf(wave)

/** Objects whose making takes no more locks than a server with default settings has, whoever else takes some. */
const few = 500
const piece = 250

/**
 * Pure: the script, where there is little of it, that is made in the transaction in which the follow starts. Otherwise the steps of a
 * wave of its own, since all objects of a transaction stay locked until its end (max_locks_per_transaction).
 */
export function cutScript(before: readonly string[]): {
  readonly script: string
  readonly steps: readonly CopyStep[]
} {
  if (before.length <= few) return { script: before.join('\n'), steps: [] }
  const count = Math.ceil(before.length / piece)
  const steps = Array.from({ length: count }, (_, i) => ({
    wave: 'schema' as const,
    label: `part ${i + 1} of ${count} of the schema`,
    statement: before.slice(i * piece, (i + 1) * piece).join('\n'),
  }))
  return { script: '', steps }
}

/** Follower's own, of a session, or what an extension makes. */
function isForeign(item: SchemaItem, parts: ReadonlyMap<string, string>): boolean {
  if (item.schema === 'follower' || /^pg_(temp|toast)/.test(item.schema)) return true
  return item.catalog !== 'pg_extension' && within(new Set(), key(item), parts)
}

/** As objectAt (archive.ts) reads it. */
function heading({ kind, schema, name }: SchemaItem): string {
  return `-- Name: ${name}; Type: ${kind}; Schema: ${schema}; Owner: -`.replaceAll(/[\r\n]+/g, ' ')
}

/** The latest of its own time and those of what it needs; what runs side by side can't need one another. */
function timeOf(
  item: SchemaItem,
  needed: Iterable<SchemaItem>,
  when: ReadonlyMap<SchemaItem, number>,
): number {
  let time = times.indexOf(kinds[item.kind]!)
  for (const other of needed) {
    const least = when.get(other)!
    time = Math.max(time, sideBySide.some((wave) => wave === times[least]) ? least + 1 : least)
  }
  return time
}

/** Every item after what it needs; else by kind and name. */
function inOrder(
  items: readonly SchemaItem[],
  needs: ReadonlyMap<SchemaItem, ReadonlySet<SchemaItem>>,
): readonly SchemaItem[] {
  const sorted = (them: Iterable<SchemaItem>): SchemaItem[] =>
    [...them].toSorted((a, b) => ranks.get(a.kind)! - ranks.get(b.kind)! || compare(label(a), label(b)))
  const done = new Set<SchemaItem>()
  const open: SchemaItem[] = []
  const visit = (item: SchemaItem): void => {
    if (done.has(item)) return
    if (open.includes(item))
      throw new NoOrder('these need one another', open.slice(open.indexOf(item)).map(label))
    open.push(item)
    for (const other of sorted(needs.get(item)!)) visit(other)
    open.pop()
    done.add(item)
  }
  for (const item of sorted(items)) visit(item)
  return [...done]
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
