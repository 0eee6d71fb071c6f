// `node .ci/failed.mjs <report>`: names what failed in vitest's JSON report, each with the beginning of its error.
import { readFileSync } from 'node:fs'
import { relative } from 'node:path'

const { testResults = [] } = JSON.parse(readFileSync(process.argv[2], 'utf8'))
for (const file of testResults) {
  const failed = file.assertionResults.filter((test) => test.status === 'failed')
  const name = relative(process.cwd(), file.name)
  for (const test of failed) {
    console.log(`failed: ${name} > ${test.fullName}`)
    console.log(indented(test.failureMessages.join('\n'), 12))
  }
  if (file.status === 'failed' && failed.length === 0) {
    console.log(`failed: ${name}`)
    console.log(indented(file.message ?? '', 12))
  }
}

function indented(text, lines) {
  return text
    .split('\n')
    .slice(0, lines)
    .map((line) => `  ${line.slice(0, 300)}`)
    .join('\n')
}
