// Builds each known-bad variant in a copy of the project and sees that its test fails there; that the same test
// passes without the change is for `npm test` to show. Prints a line for each; exits 1 if any was not caught.
// `node test/mutants/run.mjs [part of a name] [--report FILE]`; the report counts as vitest's does.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { mutants } from './mutants.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const copied = [
  'src',
  'sql',
  'test',
  'docs',
  'docker',
  'package.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'vitest.config.ts',
]
const { values, positionals } = parseArgs({ options: { report: { type: 'string' } }, allowPositionals: true })
const chosen = mutants.filter(({ name }) => name.includes(positionals[0] ?? ''))

let caught = 0
for (const mutant of chosen) {
  const directory = mkdtempSync(path.join(tmpdir(), 'follower-mutant-'))
  try {
    for (const each of copied) cpSync(path.join(root, each), path.join(directory, each), { recursive: true })
    symlinkSync(path.join(root, 'node_modules'), path.join(directory, 'node_modules'))
    for (const [file, find, replacement] of mutant.edits) edit(path.join(directory, file), find, replacement)
    const built = run(directory, 'node_modules/typescript/bin/tsc', ['-p', 'tsconfig.build.json'])
    if (built.status !== 0) throw new Error(`it does not compile:\n${built.stdout}`)
    const [file, pattern] = mutant.test
    const tested = run(directory, 'node_modules/vitest/vitest.mjs', [
      'run',
      file,
      '-t',
      pattern,
      '--reporter=json',
    ])
    const result = JSON.parse(tested.stdout.slice(tested.stdout.indexOf('{"')))
    if (result.numPassedTests + result.numFailedTests === 0) throw new Error(`no test is called "${pattern}"`)
    if (result.numFailedTests === 0) throw new Error('SURVIVED: no test failed')
    caught++
    console.log(`caught    ${mutant.name}`)
  } catch (error) {
    console.log(`NOT caught ${mutant.name}: ${error.message}`)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
if (values.report) {
  const counts = { numPassedTests: caught, numFailedTests: chosen.length - caught, numPendingTests: 0 }
  writeFileSync(values.report, JSON.stringify(counts))
}
console.log(`${caught} of ${chosen.length} mutants caught`)
process.exitCode = caught === chosen.length ? 0 : 1

function edit(file, find, replacement) {
  const text = readFileSync(file, 'utf8')
  if (text.split(find).length !== 2) throw new Error(`${path.basename(file)} does not have once: ${find}`)
  writeFileSync(
    file,
    text.replace(find, () => replacement),
  )
}

function run(cwd, script, args) {
  return spawnSync(process.execPath, [path.join(cwd, script), ...args], {
    cwd,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: {
      ...process.env,
      FOLLOWER_FAILPOINT: '',
      FOLLOWER_SLOW: args.some((arg) => arg.includes('.slow.')) ? '1' : '',
    },
  })
}
