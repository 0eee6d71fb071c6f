import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const src = fileURLToPath(new URL('../src', import.meta.url))

/** Stages know the nouns and the seams, never one another. */
const stages = ['stream', 'decode', 'transaction', 'plan', 'apply', 'ddl', 'progress', 'copy'] as const

/** A file may import from its own folder and from lower ranks. The first entry that fits a path counts. */
const ranks: readonly (readonly [prefix: string, rank: number])[] = [
  ['errors.ts', 0],
  ['failpoints.ts', 0],
  ['model/', 0],
  ['postgres/', 1],
  ['telemetry/', 1],
  ...stages.map((stage) => [`${stage}/`, 2] as const),
  ['provision/', 3],
  ['session/', 4],
  ['follower.ts', 5],
  ['config/', 6],
  ['daemon/', 7],
  ['commands/', 8],
  ['cli.ts', 9],
  ['index.ts', 9],
  ['demo/', 9],
]

/** By file: what it imports, as paths below src/. */
const imports = new Map<string, string[]>(
  readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file): [string, string[]] => [file, importsOf(file)]),
)

function importsOf(file: string): string[] {
  const text = readFileSync(path.join(src, file), 'utf8')
  const found = text.matchAll(
    /^(?:import|export)\b[^;'"]*?\bfrom\s+'(\.[^']+)'|\bimport\(\s*'(\.[^']+)'|^import\s+'(\.[^']+)'/gm,
  )
  return [...found].map((it) => path.join(path.dirname(file), it[1] ?? it[2] ?? it[3]!))
}

function rank(file: string): number | undefined {
  return ranks.find(([prefix]) => file === prefix || (prefix.endsWith('/') && file.startsWith(prefix)))?.[1]
}

const folder = (file: string): string => (file.includes('/') ? file.slice(0, file.indexOf('/')) : '')

test('the imports are read', () => {
  expect(imports.size).toBeGreaterThan(20)
  expect(imports.get('demo/compare.ts')).toContain('demo/rows.ts')
  expect([...imports.values()].flat().filter((file) => !imports.has(file))).toEqual([])
})

test('every file has its place', () => {
  expect([...imports.keys()].filter((file) => rank(file) === undefined)).toEqual([])
})

test('imports only go down, and no stage knows another', () => {
  const wrong: string[] = []
  for (const [file, targets] of imports)
    for (const target of targets) {
      if (folder(file) === folder(target) && folder(file) !== '') continue
      const [from, to] = [rank(file) ?? 0, rank(target) ?? 0]
      if (to > from || (to === from && from > 0)) wrong.push(`${file} imports ${target}`)
    }
  expect(wrong).toEqual([])
})

test('no imports go round', () => {
  const done = new Set<string>()
  const rounds: string[] = []
  const visit = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) rounds.push([...way.slice(way.indexOf(file)), file].join(' → '))
    if (done.has(file) || way.includes(file)) return
    for (const target of imports.get(file)!) visit(target, [...way, file])
    done.add(file)
  }
  for (const file of imports.keys()) visit(file, [])
  expect(rounds).toEqual([])
})

test('no file is longer than 300 lines', () => {
  const long = [...imports.keys()].filter(
    (file) => readFileSync(path.join(src, file), 'utf8').split('\n').length > 301,
  )
  expect(long).toEqual([])
})
