// `node .ci/count.mjs <report>`: prints `passed failed skipped` of vitest's JSON report.
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
console.log(`${passed} ${failed + broken} ${skipped}`)
