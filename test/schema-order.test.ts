import { expect, test } from 'vitest'
import { NoOrder, orderSchema, type SchemaItem, type SchemaParts } from '../src/copy/schema-order.ts'

const at = (object: string) => ({ catalog: 'c', object })
const item = (kind: string, object: string, schema = 's'): SchemaItem => ({
  ...{ ...at(object), kind, schema, name: object, statement: `MAKE ${object}` },
})

function order(
  items: readonly SchemaItem[],
  needs: readonly (readonly [string, string])[],
  more: Partial<SchemaParts> = {},
) {
  return orderSchema({
    ...{ items, additions: [], parts: [], needs: needs.map(([a, b]) => [at(a), at(b)] as const) },
    ...more,
  })
}

test('each after what it needs, else by kind and name', () => {
  const { before, after } = order(
    [item('TABLE', 'b'), item('TABLE', 'a'), item('FUNCTION', 'f'), item('INDEX', 'i'), item('SCHEMA', 'z')],
    [
      ['f', 'b'],
      ['i', 'a'],
    ],
  )
  expect(before.join('\n').match(/MAKE ./g)).toEqual(['MAKE z', 'MAKE b', 'MAKE f', 'MAKE a'])
  expect(after).toEqual([{ wave: 'indexes', label: 'INDEX s i', statement: 'MAKE i;' }])
})

test('what needs a later wave comes after it, and nothing needs what runs beside it', () => {
  const items = [
    ...[item('TABLE', 't'), item('CONSTRAINT', 'key'), item('VIEW', 'grouped'), item('VIEW', 'over')],
    ...[item('MATERIALIZED VIEW', 'sums'), item('INDEX', 'on_sums'), item('FK CONSTRAINT', 'fk')],
    item('FUNCTION', 'of_fk'),
  ]
  const { before, after } = order(items, [
    ['key', 't'],
    ['grouped', 'key'],
    ['over', 'grouped'],
    ['sums', 'over'],
    ['on_sums', 'sums'],
    ['fk', 'key'],
    ['of_fk', 'fk'],
  ])
  expect(before.join('\n').match(/MAKE \w+/g)).toEqual(['MAKE t'])
  expect(after.map(({ wave, label }) => `${wave}: ${label}`)).toEqual([
    'indexes: CONSTRAINT s key',
    'objects: VIEW s grouped',
    'objects: VIEW s over',
    'objects: MATERIALIZED VIEW s sums',
    'objects: INDEX s on_sums',
    'foreign keys: FK CONSTRAINT s fk',
    'last: FUNCTION s of_fk',
  ])
})

test('parts stand for their whole; what an extension or follower made is left out', () => {
  const extension: SchemaItem = { ...item('EXTENSION', 'e'), catalog: 'pg_extension' }
  const { before, after } = order(
    [
      item('TABLE', 't'),
      extension,
      item('TABLE', 'member'),
      item('INDEX', 'on_member'),
      item('TABLE', 'own', 'follower'),
      item('VIEW', 'v'),
    ],
    [
      ['row type', 'e type'],
      ['t', 'row type'],
      ['v', 't'],
    ],
    {
      parts: [
        [at('row type'), at('t')],
        [at('e type'), extension],
        [at('member'), extension],
        [at('on_member'), at('member')],
      ],
      additions: [
        { ...at('row type'), statement: 'COMMENT t' },
        { ...at('member'), statement: 'COMMENT member' },
        { ...extension, statement: 'COMMENT e' },
      ],
    },
  )
  expect(before.join('\n').match(/(MAKE|COMMENT) \w+/g)).toEqual([
    'MAKE e',
    'COMMENT e',
    'MAKE t',
    'COMMENT t',
    'MAKE v',
  ])
  expect(after).toEqual([])
})

test('no order is made up for a cycle', () => {
  const make = () =>
    order(
      [item('TABLE', 'a'), item('FUNCTION', 'b'), item('TABLE', 'c')],
      [
        ['a', 'b'],
        ['b', 'a'],
        ['c', 'a'],
      ],
    )
  expect(make).toThrow(NoOrder)
  expect(make).toThrow('FUNCTION s b, TABLE s a')
})

test('a table can’t wait for what comes after the rows', () => {
  const make = () =>
    order(
      [item('TABLE', 't'), item('CONSTRAINT', 'key'), item('VIEW', 'grouped'), item('TABLE', 'late')],
      [
        ['key', 't'],
        ['grouped', 'key'],
        ['late', 'grouped'],
      ],
    )
  expect(make).toThrow(NoOrder)
  expect(make).toThrow('TABLE s late, VIEW s grouped')
})

test('what is said of nothing that is made is told', () => {
  const own = item('TABLE', 'own', 'follower')
  const extension: SchemaItem = { ...item('EXTENSION', 'e'), catalog: 'pg_extension' }
  const { homeless, holds } = order([item('TABLE', 't'), own, extension], [], {
    parts: [
      [at('part of own'), own],
      [at('of e'), extension],
      [at('part'), at('t')],
    ],
    additions: ['t', 'part', 'part of own', 'of e', 'lost'].map((object) => ({
      ...at(object),
      statement: object,
    })),
  })
  expect(homeless.map(({ statement }) => statement)).toEqual(['lost'])
  expect(['t', 'part', 'own', 'lost'].map((object) => holds(at(object)))).toEqual([true, true, false, false])
})
