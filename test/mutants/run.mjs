// Builds each known-bad variant in a copy of the project and sees that its test fails there; that the same test
// passes without the change is for `npm test` to show. Prints a line for each; exits 1 if any was not caught.
// `node test/mutants/run.mjs [part of a name] [--report FILE]`; the report counts as vitest's does. `--third N`: every third one, others for
// another N. With --chaos it is a short chaos run that must catch each of those that have one; it takes minutes.
import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
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
const { values, positionals } = parseArgs({
  options: {
    report: { type: 'string' },
    third: { type: 'string' },
    chaos: { type: 'boolean', default: false },
  },
  allowPositionals: true,
})
const chosen = mutants.filter(
  ({ name, chaos }, i) =>
    name.includes(positionals[0] ?? '') &&
    (chaos || !values.chaos) &&
    (values.third === undefined || i % 3 === Number(values.third) % 3),
)

// A chaos run takes the whole machine; a test waits for its servers half of the time.
const atOnce = values.chaos ? 1 : 2
const waiting = [...chosen]
let caught = 0
await Promise.all(
  Array.from({ length: atOnce }, async () => {
    for (let mutant = waiting.shift(); mutant; mutant = waiting.shift()) await examine(mutant)
  }),
)
if (values.report) {
  const counts = { numPassedTests: caught, numFailedTests: chosen.length - caught, numPendingTests: 0 }
  writeFileSync(values.report, JSON.stringify(counts))
}
console.log(`${caught} of ${chosen.length} mutants caught`)
process.exitCode = caught === chosen.length ? 0 : 1

async function examine(mutant) {
  const directory = mkdtempSync(path.join(tmpdir(), 'follower-mutant-'))
  try {
    for (const each of copied) cpSync(path.join(root, each), path.join(directory, each), { recursive: true })
    symlinkSync(path.join(root, 'node_modules'), path.join(directory, 'node_modules'))
    for (const [file, find, replacement] of mutant.edits) edit(path.join(directory, file), find, replacement)
    const built = await run(directory, 'node_modules/typescript/bin/tsc', ['-p', 'tsconfig.build.json'])
    if (built.status !== 0) throw new Error(`it does not compile:\n${built.stdout}`)
    const how = values.chaos
      ? await bySomeChaos(directory, mutant.chaos)
      : await byItsTest(directory, mutant.test)
    caught++
    console.log(`caught     ${mutant.name}${how}`)
  } catch (error) {
    console.log(`NOT caught ${mutant.name}: ${error.message}`)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Runs the test that must fail. */
async function byItsTest(directory, [file, pattern]) {
  const args = ['run', file, '-t', pattern, '--reporter=json']
  const tested = await run(directory, 'node_modules/vitest/vitest.mjs', args)
  const result = JSON.parse(tested.stdout.slice(tested.stdout.indexOf('{"')))
  if (result.numPassedTests + result.numFailedTests === 0) throw new Error(`no test is called "${pattern}"`)
  if (result.numFailedTests === 0) throw new Error('SURVIVED: no test failed')
  return ''
}

/** Runs accidents until the checker sees what is wrong. */
async function bySomeChaos(directory, args) {
  const report = path.join(directory, 'chaos.json')
  const { stdout } = await run(directory, 'test/chaos/run.mjs', [
    '--minutes',
    '3',
    '--report',
    report,
    ...args,
  ])
  if (!existsSync(report)) throw new Error(`the chaos run came to no end:\n${stdout.slice(-3000)}`)
  const { violations, accidents, seconds } = JSON.parse(readFileSync(report, 'utf8'))
  if (violations.length === 0) throw new Error(`SURVIVED ${accidents} accidents in ${seconds} s`)
  return ` (after ${accidents} accidents, ${seconds} s: ${violations[0].slice(0, 160).replaceAll('\n', ' ')})`
}

function edit(file, find, replacement) {
  const text = readFileSync(file, 'utf8')
  if (text.split(find).length !== 2) throw new Error(`${path.basename(file)} does not have once: ${find}`)
  writeFileSync(
    file,
    text.replace(find, () => replacement),
  )
}

function run(cwd, script, args) {
  const child = spawn(process.execPath, [path.join(cwd, script), ...args], {
    cwd,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      FOLLOWER_FAILPOINT: '',
      FOLLOWER_SLOW: args.some((arg) => arg.includes('.slow.')) ? '1' : '',
    },
  })
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text
  })
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, stdout })))
}
