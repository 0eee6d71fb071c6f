import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, Socket } from 'node:net'
import path from 'node:path'

/**
 * A process that does what `destroyNow` does when this process is killed and can't: it reads from a pipe whose other
 * end only this process holds.
 */
export function guard(dir: string): ChildProcess {
  const work =
    'read -r line; kill -QUIT "$(head -n 1 "$0/data/postmaster.pid")" 2>/dev/null; sleep 1; rm -rf "$0"'
  const guardian = spawn('/bin/sh', ['-c', work, dir], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  // Neither it nor its pipe keeps this process alive.
  guardian.unref()
  if (guardian.stdin instanceof Socket) guardian.stdin.unref()
  return guardian
}

/** The eighth line of postmaster.pid tells the state: src/include/utils/pidfile.h of PostgreSQL. */
export function isReady(dataDir: string, pid: number): boolean {
  let text: string
  try {
    text = readFileSync(path.join(dataDir, 'postmaster.pid'), 'utf8')
  } catch {
    return false
  }
  const lines = text.split('\n')
  return lines[0] === String(pid) && lines[7]?.trim() === 'ready'
}

/** Resolves when the process is gone. */
export async function exited(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  await new Promise((resolve) => child.once('exit', resolve))
}

/**
 * A port that is free now. Below the kernel's range for outgoing connections: otherwise a client that connects again
 * and again to a stopped server may be given that very port, and keep the server from coming back.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = randomInt(15_000, 32_000)
    const free = await new Promise<boolean>((resolve) => {
      const probe = createServer()
      probe.once('error', () => resolve(false))
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
    })
    if (free) return port
  }
  throw new Error('found no free port between 15000 and 32000')
}
