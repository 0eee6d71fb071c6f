import { randomUUID } from 'node:crypto'
import { close, constants, openSync, readSync, unlinkSync, write } from 'node:fs'
import path from 'node:path'
import { ExitCode, FollowerError } from '../errors.ts'
import type { StoredChunk } from '../model/changes.ts'

export interface SpillOptions {
  /** Where the file is made. */
  readonly directory: string
  /** Bytes that one transaction may take on disk. */
  readonly limit: number
  /** Bytes handed to the system and not yet written: beyond this the upstream is held back, since a disk may be slower than it. */
  readonly unwritten: number
  /** More waits to be written than is good for the memory; or no longer. */
  readonly pressure: (high: boolean) => void
  /** Bytes on disk: more of them, or fewer. */
  readonly changed: (bytes: number) => void
  /** Something could not be written. The session has to end. */
  readonly failed: (error: Error) => void
}

/**
 * What of one transaction is not held in memory. The file loses its name at once, so that nothing is left
 * of it whatever ends the process; only the process's own user could ever open it.
 */
export class SpillFile {
  private readonly options: SpillOptions
  private readonly fd: number
  private size = 0
  private waiting = 0
  private writes = 0
  private closing = false

  /** Throws FollowerError FLW-334 where the directory takes no file. */
  constructor(options: SpillOptions) {
    this.options = options
    const file = path.join(options.directory, `follower-spill-${randomUUID()}`)
    try {
      this.fd = openSync(file, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)
      unlinkSync(file)
    } catch (error) {
      throw spillError(options.directory, error as Error)
    }
  }

  /** Takes a chunk; its memory is free as soon as it is written. Throws FollowerError FLW-335 beyond the limit. */
  store(chunk: Buffer): StoredChunk {
    const position = this.size
    if (position + chunk.length > this.options.limit) throw limitError(this.options.limit)
    this.size += chunk.length
    this.options.changed(chunk.length)
    const stored = new Spilled(chunk, this, position)
    this.write(chunk, position, stored)
    return stored
  }

  /** Gives the disk space back, once nothing is being written. What was stored can't be loaded any more. */
  close(): void {
    if (this.closing) return
    this.closing = true
    this.options.changed(-this.size)
    if (this.waiting > this.options.unwritten) this.options.pressure(false)
    this.closeWhenWritten()
  }

  private closeWhenWritten(): void {
    if (this.closing && this.writes === 0) close(this.fd, () => {})
  }

  /** Writes all of it: one call to the system may write less. */
  private write(chunk: Buffer, position: number, stored: Spilled): void {
    this.writes++
    this.wait(chunk.length)
    const ended = (): void => {
      this.writes--
      this.closeWhenWritten()
    }
    const go = (from: number): void => {
      write(this.fd, chunk, from, chunk.length - from, position + from, (error, bytes) => {
        if (error) {
          if (!this.closing) this.options.failed(spillError(this.options.directory, error))
          return ended()
        }
        this.wait(-bytes)
        if (from + bytes < chunk.length) return go(from + bytes)
        stored.written()
        ended()
      })
    }
    go(0)
  }

  private wait(bytes: number): void {
    const before = this.waiting > this.options.unwritten
    this.waiting += bytes
    const now = this.waiting > this.options.unwritten
    if (before !== now && !this.closing) this.options.pressure(now)
  }

  /** What was written there. */
  read(position: number, length: number): Buffer {
    const chunk = Buffer.allocUnsafeSlow(length)
    for (let at = 0; at < length; ) {
      const bytes = readSync(this.fd, chunk, at, length - at, position + at)
      if (bytes === 0) throw new RangeError(`a spilled transaction ends at ${position + at}`)
      at += bytes
    }
    return chunk
  }
}

/** No closure over the chunk: that would keep its memory for as long as the transaction is known. */
class Spilled implements StoredChunk {
  private readonly file: SpillFile
  private readonly position: number
  private readonly length: number
  private held: Buffer | undefined

  constructor(chunk: Buffer, file: SpillFile, position: number) {
    this.file = file
    this.position = position
    this.length = chunk.length
    this.held = chunk
  }

  load(): Buffer {
    return this.held ?? this.file.read(this.position, this.length)
  }

  written(): void {
    this.held = undefined
  }
}

function spillError(directory: string, error: Error): FollowerError {
  return new FollowerError(`a large transaction can't be kept in ${directory}: ${error.message}`, {
    code: 'FLW-334',
    exit: ExitCode.apply,
    detail: 'What of a transaction does not fit into memory waits on disk until its commit is applied.',
    effect: 'nothing was lost: the upstream sends the transaction again',
    fix: ['make room there, or name another directory:  follower start --spill-directory … '],
    transient: true,
    cause: error,
  })
}

function limitError(limit: number): FollowerError {
  return new FollowerError(`a transaction takes more than the ${limit} bytes on disk that it may`, {
    code: 'FLW-335',
    exit: ExitCode.apply,
    effect:
      'the downstream holds everything before this transaction and nothing of it; the position did not move',
    fix: ['start with a larger --spill-limit, or without one'],
  })
}
