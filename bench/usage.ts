import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

/** CPU seconds of one turn. */
export interface CpuUse {
  readonly upstream: number
  readonly consumer: number
  readonly downstream: number
  /** What the host of a virtual machine did not give it, though it had something to do. */
  readonly stolen: number
}

/** CPU seconds that the host has withheld since the machine began: https://man7.org/linux/man-pages/man5/proc_stat.5.html */
export function stolenSeconds(): number {
  return Number(readFileSync('/proc/stat', 'utf8').split(/\s+/, 9)[8]) / ticksPerSecond
}

/** CPU seconds of processes and of all that they started. */
export function cpuSeconds(pids: readonly number[]): number {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => statOf(Number(name)))
  let ticks = 0
  for (const stat of all) {
    if (!stat) continue
    // Of a child that has ended its parent keeps the time.
    if (pids.includes(stat.pid)) ticks += stat.own + stat.ended
    else if (pids.includes(stat.parent)) ticks += stat.own + stat.ended
  }
  return ticks / ticksPerSecond
}

/** The most memory that a process has had resident, in MiB. */
export function peakMemory(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024
}

interface Stat {
  readonly pid: number
  readonly parent: number
  /** Ticks of the process, and of its children that have ended. */
  readonly own: number
  readonly ended: number
}

/** https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html */
function statOf(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in brackets may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const at = (n: number): number => Number(fields[n - 3])
    return { pid, parent: at(4), own: at(14) + at(15), ended: at(16) + at(17) }
  } catch {
    return undefined
  }
}
