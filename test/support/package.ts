import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { cleanUp } from './cleanup.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const run = promisify(execFile)

/** An npm package as `npm pack --json` tells of it. */
export interface Packed {
  readonly tarball: string
  readonly name: string
  readonly version: string
  /** Bytes of the tarball. */
  readonly size: number
  readonly files: readonly string[]
}

/** A temporary directory, gone at the end of the test (or file). */
export function temporaryDirectory(): string {
  const dir = mkdtempSync(path.join(tmpdir(), 'follower-test-'))
  cleanUp(() => rmSync(dir, { recursive: true, force: true, maxRetries: 10 }))
  return dir
}

/** Packs the project as built. Without its scripts: other tests run dist/ while this one packs it. */
export async function pack(): Promise<Packed> {
  const dir = temporaryDirectory()
  const { stdout } = await npm(['pack', '--ignore-scripts', '--json', '--pack-destination', dir])
  const [packed] = JSON.parse(stdout) as (Omit<Packed, 'files' | 'tarball'> & {
    readonly filename: string
    readonly files: readonly { readonly path: string }[]
  })[]
  if (!packed) throw new Error(`npm pack made nothing: ${stdout}`)
  return {
    ...packed,
    tarball: path.join(dir, packed.filename),
    files: packed.files.map((file) => file.path),
  }
}

/** Installs packages into a directory of their own, as a user would, and returns its node_modules. */
export async function install(...specs: readonly string[]): Promise<string> {
  const dir = temporaryDirectory()
  const quiet = ['--ignore-scripts', '--omit=dev', '--prefer-offline', '--no-audit', '--no-fund']
  await npm(['install', '--prefix', dir, ...quiet, ...specs], dir)
  return path.join(dir, 'node_modules')
}

/** Whether npm failed since it reached nothing, and not since something is wrong. */
export function outOfReach(error: unknown): boolean {
  return /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED|E404)\b/.test(
    String((error as { stderr?: string }).stderr),
  )
}

function npm(args: readonly string[], cwd = root): Promise<{ stdout: string; stderr: string }> {
  // The npm that runs the tests says which package and script it runs: nothing of that is meant for this one.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_(package|lifecycle)_|^NODE_ENV$/.test(name)),
  )
  return run('npm', [...args], { cwd, env, maxBuffer: 64 * 1024 * 1024 })
}
