import { closeSync, constants, openSync, writeSync } from 'node:fs'

/** Kept for a terminal that takes nothing; of what comes then, only the number of lines. */
const most = 1024 * 1024
const againMs = 100

/** A terminal that may stand still (Ctrl-S, a multiplexer that is stopped): who writes never waits for it. Order and whole sequences are kept. */
export class Terminal {
  private readonly fd: number
  private readonly rest: Buffer[] = []
  private kept = 0
  private lost = 0
  private timer: NodeJS.Timeout | undefined
  private gone = false

  /** `fd` has to be non-blocking, and of an open file of its own: others that write to the terminal may want to wait. */
  constructor(fd: number) {
    this.fd = fd
  }

  /** That of stderr; undefined where it can't be opened once more (such as after `su`). */
  static ofProcess(): Terminal | undefined {
    try {
      const fd = openSync('/dev/stderr', constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
      const it = new Terminal(fd)
      process.once('exit', () => it.close())
      return it
    } catch {
      return undefined
    }
  }

  /** False while it has not taken all that was written. */
  get free(): boolean {
    this.flush()
    return this.kept === 0
  }

  /** Whole lines, or whole drawings. */
  write(text: string): void {
    if (this.gone) return
    this.flush()
    if (this.kept > most) this.lost += text.split('\n').length - 1
    else this.keep(text)
    this.flush()
  }

  /** What it does not take now is lost. */
  close(): void {
    clearTimeout(this.timer)
    this.flush()
    this.gone = true
    closeSync(this.fd)
  }

  private keep(text: string): void {
    const bytes = Buffer.from(text)
    this.rest.push(bytes)
    this.kept += bytes.length
  }

  private flush(): void {
    if (this.gone) return
    try {
      for (let next = this.rest[0]; next; next = this.rest[0]) {
        const taken = writeSync(this.fd, next)
        this.kept -= taken
        if (taken === next.length) this.rest.shift()
        else this.rest[0] = next.subarray(taken)
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') {
        this.gone = true
        return
      }
    }
    clearTimeout(this.timer)
    if (this.kept > 0) this.timer = setTimeout(() => this.flush(), againMs).unref()
    else if (this.lost > 0) {
      this.keep(`[${this.lost} lines left out: the terminal stood still]\r\n`)
      this.lost = 0
      this.flush()
    }
  }
}
