// A load, a seeded schedule of accidents, and a checker: `npm run chaos -- --minutes 5 --seed 42`.
// With root it runs in network and mount namespaces of its own, where packets can be dropped and a disk can be full; what it does there
// is seen nowhere else and ends with it. --mode takes one group of accidents, --kind those whose name has that text. --begin copy
// lets the follower find an upstream with data, again and again. Without root these two kinds are left out, by name.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const usage = `npm run chaos -- [--minutes N] [--seed S] [--mode all|process|network|server|session] [--kind TEXT] [--begin empty|copy] [--pair 18-18] [--plugin pgoutput|wal2json] [--report FILE]`
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    mode: { type: 'string', default: 'all' },
    kind: { type: 'string', default: '' },
    begin: { type: 'string', default: 'empty' },
    pair: { type: 'string', default: '18-18' },
    plugin: { type: 'string', default: 'pgoutput' },
    report: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
const problem =
  (!(Number(values.minutes) > 0) && `--minutes ${values.minutes} is no number above 0`) ||
  (!/^\d+$/.test(values.seed) && `--seed ${values.seed} is no whole number`) ||
  (!/^(all|process|network|server|session)$/.test(values.mode) && `--mode ${values.mode} is none`) ||
  (!/^(empty|copy)$/.test(values.begin) && `--begin ${values.begin} is none`) ||
  (!/^1[4-8]-1[4-8]$/.test(values.pair) && `--pair ${values.pair} is none such as 15-18`) ||
  (!/^(pgoutput|wal2json)$/.test(values.plugin) && `--plugin ${values.plugin} is none`)
if (values.help || problem) {
  console.error(problem ? `${problem}\n${usage}` : usage)
  process.exit(problem ? 2 : 0)
}

const root = fileURLToPath(new URL('../..', import.meta.url))
const namespaces = [
  'unshare',
  '--net',
  '--mount',
  '--propagation',
  'private',
  '--pid',
  '--fork',
  '--mount-proc',
]
const own =
  process.getuid?.() === 0 &&
  spawnSync(namespaces[0], [...namespaces.slice(1), 'iptables', '-L', '-n']).status === 0
if (!own) console.error('LEFT OUT: dropped packets and a full disk, which need root, unshare and iptables')
const vitest = [
  process.execPath,
  path.join(root, 'node_modules/vitest/vitest.mjs'),
  ...['run', '--config', 'test/chaos/vitest.config.ts', '--root', root],
]
const [file, ...args] = own
  ? [...namespaces, 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', ...vitest]
  : vitest
console.error(
  `chaos: --minutes ${values.minutes} --seed ${values.seed} --mode ${values.mode} --begin ${values.begin} --pair ${values.pair} --plugin ${values.plugin}${values.kind && ` --kind '${values.kind}'`}`,
)
const { status } = spawnSync(file, args, {
  cwd: root,
  stdio: 'inherit',
  env: {
    ...process.env,
    FOLLOWER_CHAOS_MINUTES: values.minutes,
    FOLLOWER_SEED: values.seed,
    FOLLOWER_CHAOS_MODE: values.mode,
    FOLLOWER_CHAOS_KIND: values.kind,
    FOLLOWER_CHAOS_PAIR: values.pair,
    FOLLOWER_CHAOS_PLUGIN: values.plugin,
    FOLLOWER_CHAOS_BEGIN: values.begin,
    ...(values.report && { FOLLOWER_CHAOS_REPORT: path.resolve(values.report) }),
    ...(own && { FOLLOWER_CHAOS_NAMESPACE: '1' }),
  },
})
process.exitCode = status ?? 1
