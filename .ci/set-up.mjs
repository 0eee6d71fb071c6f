// Run by npm before `npm test` and `npm run demo`: brings packages and dist/ up to date, where they are not.
// Only what Node itself has: in a fresh clone nothing else exists yet.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const at = (...parts) => path.join(root, ...parts)

const missing = missingPackages()
if (missing.length > 0) {
  console.error(
    `set-up: installing packages (${missing.slice(0, 3).join(', ')}${missing.length > 3 ? ', …' : ''})`,
  )
  npm('ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund')
}
if (newest(at('src')) > oldestOutput()) {
  console.error('set-up: building dist/')
  npm('run', '--silent', 'build')
}

/** Packages of package-lock.json that node_modules lacks or has in another version. */
function missingPackages() {
  const lock = JSON.parse(readFileSync(at('package-lock.json'), 'utf8'))
  return Object.entries(lock.packages)
    .filter(([place, entry]) => place.startsWith('node_modules/') && isNeededHere(entry))
    .filter(([place, entry]) => installedVersion(place) !== entry.version)
    .map(([place]) => place.replace(/^.*node_modules\//, ''))
}

/** Optional packages for a platform are needed on that platform; other optional ones npm installs as it likes. */
function isNeededHere(entry) {
  const fits = (list, value) => {
    if (!list) return true
    const no = list.filter((it) => it.startsWith('!'))
    return no.length > 0 ? !no.includes(`!${value}`) : list.includes(value)
  }
  if (entry.optional && !entry.os) return false
  return fits(entry.os, process.platform) && fits(entry.cpu, process.arch) && fits(entry.libc, libc())
}

function libc() {
  process.report.excludeNetwork = true
  return process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl'
}

function installedVersion(place) {
  const file = at(place, 'package.json')
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version : undefined
}

/** Latest change below a directory, in milliseconds; 0 where there is none. */
function newest(dir) {
  let latest = 0
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true }))
    if (entry.isFile())
      latest = Math.max(latest, statSync(path.join(entry.parentPath ?? entry.path, entry.name)).mtimeMs)
  return latest
}

/** The moment of the last build: tsc writes every file each time. */
function oldestOutput() {
  const program = at('dist', 'cli.js')
  return existsSync(program) ? statSync(program).mtimeMs : 0
}

function npm(...args) {
  // The npm that runs this script, if one does.
  const cli = process.env.npm_execpath
  const run =
    cli && /npm-cli\.js$/.test(cli)
      ? spawnSync(process.execPath, [cli, ...args], { cwd: root, stdio: ['ignore', 2, 2] })
      : spawnSync('npm', args, { cwd: root, stdio: ['ignore', 2, 2] })
  if (run.status === 0) return
  console.error(`set-up: npm ${args.join(' ')} failed`)
  process.exit(run.status ?? 1)
}
