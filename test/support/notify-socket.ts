import { spawn, spawnSync } from 'node:child_process'
import { chmodSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { cleanUp } from './cleanup.ts'
import { temporaryDirectory } from './package.ts'
import { absent } from './servers.ts'

/** What one message of sd_notify(3) says. */
export type Message = Readonly<Record<string, string>>

export interface NotifySocket {
  /** For NOTIFY_SOCKET. */
  readonly path: string
  /** Messages so far, but for the empty barriers between them. */
  readonly messages: readonly Message[]
}

/** Prints each datagram of a socket of its own as one line. Perl: Node has no such sockets, and Debian always has Perl. */
const listener = `
use Socket;
socket(S, PF_UNIX, SOCK_DGRAM, 0) or die $!;
bind(S, sockaddr_un($ARGV[0])) or die $!;
$| = 1;
print "listening\\n";
while (defined recv(S, my $message, 65536, 0)) { $message =~ s/\\n/\\t/g; print "$message\\n" }`

/** Whether a program runs here; skips loudly where not. */
export function runs(name: string, ...args: readonly string[]): boolean {
  return spawnSync(name, args).status === 0 || absent(name)
}

/** A socket such as systemd gives to a service of Type=notify; gone at the end of the test. */
export async function notifySocket(): Promise<NotifySocket> {
  const file = path.join(temporaryDirectory(), 'notify')
  const child = spawn('perl', ['-e', listener, file], { stdio: ['ignore', 'pipe', 'inherit'] })
  cleanUp(() => child.kill())
  const messages: Message[] = []
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', () => reject(new Error('the listener has ended')))
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === 'listening') return resolve()
      if (line !== 'BARRIER=1')
        messages.push(
          Object.fromEntries(
            line.split('\t').map((pair) => [pair.split('=', 1)[0]!, pair.replace(/^.*?=/, '')]),
          ),
        )
    })
  })
  chmodSync(file, 0o777)
  return { path: file, messages }
}
