#!/usr/bin/env node
import { publicCommandLine } from './config/argv.ts'

const args = process.argv.slice(2)
// First of all, and before the rest is loaded: `ps` must not show passwords.
process.title = publicCommandLine(args)
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `follower status | head`: nobody reads any more.
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})
const { main } = await import('./commands/program.ts')
const exit = await main(args)
// What still waits in a pipe would be lost: half a script is worse than none.
await new Promise<unknown>((resolve) => process.stdout.write('', resolve))
process.exit(exit)
