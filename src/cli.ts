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
process.exit(await main(args))
