import { type LogOptions, logsForPeople } from './log.ts'
import { Terminal } from './terminal.ts'

export interface ScreenSize {
  /** Columns and lines of the terminal. */
  readonly width: number
  readonly height: number
}

/** Lines as they are to be seen now; none holds a control character. */
export type Draw = (size: ScreenSize) => readonly string[]

/** Five times a second. */
const everyMs = 200

/**
 * Lines that stay at the bottom of a terminal, below the log: taken away before a line of the log and drawn again after it, in one write.
 * Cursor movements only, no colours. https://www.man7.org/linux/man-pages/man4/console_codes.4.html
 */
export class Screen {
  private readonly out: Pick<Terminal, 'write' | 'free'>
  private readonly size: () => ScreenSize
  private timer: NodeJS.Timeout | undefined
  private lines: readonly string[] = []

  constructor(out: Pick<Terminal, 'write' | 'free'>, size: () => ScreenSize) {
    this.out = out
    this.size = size
  }

  /** That of stderr; undefined where nobody looks at it, or it can't be drawn on. */
  static ofProcess(log: LogOptions): Screen | undefined {
    const { stderr, env } = process
    const wanted = logsForPeople(log.format) && ['trace', 'debug', 'info'].includes(log.level)
    if (!wanted || stderr.isTTY !== true || env.TERM === 'dumb' || env.JOURNAL_STREAM !== undefined)
      return undefined
    // A terminal that doesn't know its size says 0.
    const size = () => ({ width: stderr.columns || 80, height: stderr.rows || 24 })
    const terminal = Terminal.ofProcess()
    return terminal && new Screen(terminal, size)
  }

  /** Whole lines that stay. */
  write(text: string): void {
    this.out.write(this.erasing() + text + drawing(this.lines))
  }

  /** Draws now and a few times a second, until `hide`. */
  show(draw: Draw): void {
    this.hide()
    const again = (): void => {
      // Nobody looks at what stands still.
      if (!this.out.free) return
      const erasing = this.erasing()
      this.lines = draw(this.size())
      this.out.write(erasing + drawing(this.lines))
    }
    this.timer = setInterval(again, everyMs)
    again()
  }

  hide(): void {
    clearInterval(this.timer)
    const erasing = this.erasing()
    this.lines = []
    if (erasing !== '') this.out.write(erasing)
  }

  /** The cursor stands below the lines: up to the first, and all away from there. */
  private erasing(): string {
    return this.lines.length === 0 ? '' : `\r\u001b[${this.lines.length}A\u001b[J`
  }
}

/** Without wrapping: a character may be two columns wide. */
function drawing(lines: readonly string[]): string {
  return lines.length === 0 ? '' : `\u001b[?7l${lines.map((line) => `${line}\r\n`).join('')}\u001b[?7h`
}
