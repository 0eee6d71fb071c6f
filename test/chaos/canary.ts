import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { log } from '../support/failure.ts'
import type { Follower } from '../support/follower.ts'

/** Texts that must be found nowhere but in the databases: a password, and a value of a row. */
export interface Canary {
  readonly password: string
  readonly value: string
}

export function makeCanary(): Canary {
  const text = (): string => `canary-${randomBytes(8).toString('hex')}`
  return { password: text(), value: text() }
}

/** Where one of them is seen: in a log or an error, in the metrics, in what `ps` shows. */
export async function sightings(canary: Canary, followers: readonly Follower[]): Promise<string[]> {
  const found: string[] = []
  const look = (where: string, text: string): void => {
    for (const [what, secret] of Object.entries(canary))
      if (text.includes(secret)) found.push(`the ${what} is in ${where}`)
  }
  for (const follower of followers) look(`the log of a follower`, follower.output)
  const last = followers.at(-1)
  const url = last && log(last).find((line) => line.web)?.web
  if (url)
    look(
      'the metrics',
      await fetch(`${url}/metrics`).then(
        (response) => response.text(),
        () => '',
      ),
    )
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
    try {
      look(`the command line of process ${pid}`, readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
    } catch {
      // It has just ended.
    }
  return found
}
