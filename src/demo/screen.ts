import { stripVTControlCharacters } from 'node:util'
import pc from 'picocolors'

const live = process.stdout.isTTY === true
let open = false
let last = 0

/** A line that stays. */
export function say(text: string): void {
  if (open) process.stdout.write('\r\u001b[K')
  open = false
  process.stdout.write(`${text}\n`)
}

/** A line that the next one replaces; where the output is no terminal, one every few seconds stays. */
export function show(text: string): void {
  if (live) {
    process.stdout.write(
      `\r\u001b[K${text.slice(0, text.length + (process.stdout.columns ?? 80) - stripVTControlCharacters(text).length)}`,
    )
    open = true
  } else if (Date.now() - last > 2000) {
    last = Date.now()
    process.stdout.write(`${text}\n`)
  }
}

export const done = (text: string): void => say(`${pc.green('✓')} ${text}`)
export const failed = (text: string): void => say(`${pc.red('✗')} ${text}`)
export const note = (text: string): void => say(`${pc.dim('·')} ${text}`)

/** 12 345 for 12345. */
export function count(n: number): string {
  return String(n).replace(/\B(?=(\d{3})+$)/g, ' ')
}

/** 1.5 MB for 1572864. */
export function bytes(n: number): string {
  if (n < 1024) return `${n} B`
  return n < 1024 * 1024 ? `${(n / 1024).toFixed(0)} kB` : `${(n / 1024 / 1024).toFixed(1)} MB`
}
