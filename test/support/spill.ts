import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { cleanUp } from './cleanup.ts'

/** Documents that are not compressed. */
export const table = `CREATE TABLE doc(id int PRIMARY KEY, body text NOT NULL, n int NOT NULL DEFAULT 0);
  ALTER TABLE doc ALTER body SET STORAGE EXTERNAL`

/** An expression: text that does not compress, of about as many bytes. */
export const text = (seed: string, bytes: number) =>
  `(SELECT string_agg(md5(${seed} || '-' || k), '') FROM generate_series(1, ${bytes / 32}) k)`

/** A new directory, removed at the end of the test. */
export function directory(): string {
  const made = mkdtempSync(path.join(tmpdir(), 'spill-'))
  cleanUp(() => rmSync(made, { recursive: true, force: true }))
  return made
}

/** Files that the process holds open and that have no name any more. */
export function unnamed(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/${pid}/fd/${fd}`)
      return target.includes('follower-spill') && target.endsWith('(deleted)') ? [target] : []
    } catch {
      return []
    }
  })
}
