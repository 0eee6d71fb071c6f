/** One thing that is not the same at both ends; undefined where it is missing. */
export interface Difference {
  /** `column`, `index`, `function`, …; `row count` and `rows` for what tables hold. */
  readonly kind: string
  readonly identity: string
  readonly aspect: string
  readonly upstream: string | undefined
  readonly downstream: string | undefined
}

/** One line: what it is, and what each end has. */
export function formatDifference(difference: Difference): string {
  const show = (value: string | undefined): string =>
    value === undefined ? 'missing' : JSON.stringify(value)
  const { kind, identity, aspect, upstream, downstream } = difference
  return `${kind} ${identity}: ${aspect}: upstream ${show(upstream)}, downstream ${show(downstream)}`
}
