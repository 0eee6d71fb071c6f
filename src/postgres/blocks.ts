/** Of the smallest blocks; others are twice as large, and so on. */
export const blockSize = 64 * 1024
const largest = 4 * 1024 * 1024
/** Bytes that are kept for whoever comes next. */
const mostKept = 8 * 1024 * 1024

const kept = new Map<number, Buffer[]>()
let keptBytes = 0
/** All that were ever taken: only these may be given back. */
const ours = new WeakSet<ArrayBufferLike>()

/**
 * A block of at least so many bytes, of whatever content. Fresh memory for each would have the whole heap looked through for garbage
 * every 64 MB.
 */
export function takeBlock(bytes: number): Buffer {
  const size = sizeFor(bytes)
  const block = kept.get(size)?.pop()
  if (block) {
    keptBytes -= size
    return block
  }
  const fresh = Buffer.allocUnsafeSlow(size)
  ours.add(fresh.buffer)
  return fresh
}

/** Gives back the block that this is a part of: nobody reads it any more. */
export function giveBlock({ buffer }: Buffer): void {
  const size = buffer.byteLength
  if (!ours.has(buffer) || size > largest || keptBytes + size > mostKept) return
  const same = kept.get(size)
  const block = Buffer.from(buffer, 0, size)
  if (same) same.push(block)
  else kept.set(size, [block])
  keptBytes += size
}

function sizeFor(bytes: number): number {
  let size = blockSize
  while (size < bytes) size *= 2
  return size <= largest ? size : bytes
}
