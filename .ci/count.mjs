// `node .ci/count.mjs <report>`: prints `passed failed skipped pairs` of vitest's JSON report; pairs: from which major to which
// rows and schema changes were followed and found equal, `15-15,15-18`, or nothing.
import { readFileSync } from 'node:fs'

const report = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const { numPassedTests: passed, numFailedTests: failed } = report
const skipped = report.numPendingTests + (report.numTodoTests ?? 0)
// A file that does not load has no tests that could fail.
const broken = (report.testResults ?? []).filter(
  (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
).length
if (![passed, failed, skipped].every(Number.isInteger)) throw new Error('not a report of vitest')
if (passed + failed === 0) throw new Error('no test ran')
const tests = (report.testResults ?? []).flatMap((file) => file.assertionResults)
const followed = (what) =>
  new Set(
    tests
      .filter((test) => test.status === 'passed')
      .flatMap(({ ancestorTitles: [title] }) => title?.match(`^${what} of ([0-9-]+)$`)?.[1] ?? []),
  )
const changes = followed('schema changes')
const pairs = [...followed('rows')]
  .filter((pair) => changes.has(pair))
  .map((pair) => (pair.includes('-') ? pair : `${pair}-${pair}`))
  .sort()
console.log(`${passed} ${failed + broken} ${skipped} ${pairs.join(',')}`)
