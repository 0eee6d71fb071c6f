import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = new URL('../', import.meta.url)
const rows = readFileSync(new URL('docs/faults.md', root), 'utf8')
  .split('\n')
  .filter((line) => /^\| F\d+ /.test(line))
  .map((line) => line.split('|').map((cell) => cell.trim()))

/** The tests that a cell names: a file, and parts of titles behind it. */
function named(cell: string): [file: string, title: string][] {
  let file = ''
  return [...cell.matchAll(/`([^`]+)`|"([^"]+)"/g)].flatMap(([, path, title]): [string, string][] => {
    file = path ?? file
    return title === undefined ? [] : [[file, title]]
  })
}

test('docs/faults.md has every fault in its order, and every test that it names is there', () => {
  const numbers = rows.map(([, number]) => number)
  expect(numbers.slice(0, 25)).toEqual(Array.from({ length: 25 }, (_, index) => `F${index + 1}`))
  for (const [, number, , , tests = ''] of rows) {
    expect(named(tests).length, number).toBeGreaterThan(0)
    for (const [file, title] of named(tests)) {
      const path = fileURLToPath(new URL(file, root))
      expect(existsSync(path), `${number}: ${file}`).toBe(true)
      expect(readFileSync(path, 'utf8').replaceAll("\\'", "'"), `${number}: ${file}`).toContain(title)
    }
  }
})
