import { describe, expect, it } from 'vitest'
import { compareState } from '../src/ddl/state.ts'

const table = { 'column "a".type': 'integer', 'column "a".default': '', owner: '"writer"' }

describe('compareState', () => {
  it('finds nothing between equal states', () => {
    expect(compareState(table, { ...table }, true)).toEqual([])
  })

  it('lets the downstream have more', () => {
    expect(compareState(table, { ...table, 'index "local"': 'CREATE INDEX …' }, true)).toEqual([])
  })

  it('names what differs and what is missing, sorted by aspect', () => {
    expect(compareState(table, { 'column "a".type': 'bigint', 'column "a".default': '' }, true)).toEqual([
      'column "a".type: upstream integer, downstream bigint',
      'owner: upstream "writer", downstream has none',
    ])
  })

  it('tells an empty text from a missing one', () => {
    expect(compareState(table, { ...table, 'column "a".default': '1' }, true)).toEqual([
      'column "a".default: upstream (empty), downstream 1',
    ])
    expect(
      compareState(
        table,
        { 'column "a".type': 'integer', 'column "a".identity': 'ALWAYS', owner: '"writer"' },
        true,
      ),
    ).toEqual(['column "a".default: upstream (empty), downstream has none'])
  })

  it('says so where the object is missing downstream', () => {
    expect(compareState(table, null, true)).toEqual(['the object exists upstream, not downstream'])
    expect(compareState({}, null, true)).toHaveLength(1)
  })

  it('compares aspects with ~ only between equal majors', () => {
    const view = { '~definition': ' SELECT 1;' }
    const other = { '~definition': ' SELECT 2;' }
    expect(compareState(view, other, true)).toEqual([
      'definition: upstream  SELECT 1;, downstream  SELECT 2;',
    ])
    expect(compareState(view, other, false)).toEqual([])
    expect(compareState(view, {}, false)).toEqual([])
    expect(compareState(view, {}, true)).toHaveLength(1)
  })

  it('finds no difference in a class without known state, even where the object is missing', () => {
    expect(compareState({ '?': 'unknown class' }, null, true)).toEqual([])
    expect(compareState({ '?': 'unknown class' }, { '?': 'unknown class' }, true)).toEqual([])
  })

  it('takes a name for the same with quotes and without, in different majors', () => {
    const up = { 'column j.type': 'json', 'column path.default': '"a"."Json"' }
    const down = { 'column j.type': '"json"', 'column "path".default': 'a."Json"' }
    expect(compareState(up, down, false)).toEqual([])
    expect(compareState(up, down, true)).toHaveLength(2)
    expect(compareState(up, { ...down, 'column j.type': '"Json"' }, false)).toHaveLength(1)
  })

  it('does not take a property of Object for an aspect', () => {
    expect(compareState({ constructor: 'x' }, {}, true)).toEqual([
      'constructor: upstream x, downstream has none',
    ])
  })

  it('cuts long texts to where they differ', () => {
    const source = `${'x'.repeat(5000)}A${'y'.repeat(5000)}`
    const [line] = compareState({ source }, { source: source.replace('A', 'B') }, true)
    expect(line).toMatch(/^source: upstream …x+Ay+…, downstream …x+By+…$/)
    expect(line?.length).toBeLessThan(500)
    const [longer] = compareState({ source }, { source: source.slice(0, 10) }, true)
    expect(longer).toMatch(/downstream x{10}$/)
  })
})
