/** A published table as a Relation message describes it: one object per definition, so identity means "same definition". */
export interface Relation {
  /** The upstream's OID: only to tell relations of one stream apart, never sent downstream. */
  readonly oid: number
  readonly schema: string
  readonly name: string
  /** pg_class.relreplident: default, nothing, full, index. */
  readonly identity: 'd' | 'n' | 'f' | 'i'
  readonly columns: readonly RelationColumn[]
  /** Columns whose TOASTed value an UPDATE did not change may be missing here (wal2json). */
  readonly partial?: boolean
  /** It may be a materialized view, whose rows are not followed (wal2json). */
  readonly mayBeView?: boolean
}

export interface RelationColumn {
  readonly name: string
  /** Part of the replica identity (under FULL: every column). */
  readonly key: boolean
  readonly typeOid: number
  readonly typeModifier: number
  /** `schema.name` of a type that is not built in, of a domain that of its base type; where the stream tells it. */
  readonly typeName?: string
}

/** `schema.table` for messages to people. */
export function relationName(relation: { readonly schema: string; readonly name: string }): string {
  return `${relation.schema}.${relation.name}`
}
