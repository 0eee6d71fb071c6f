import { createHash, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import type { DdlMessage } from '../model/ddl-message.ts'

/** Keys of the upstream's `follower.secret`, as the two padded blocks of HMAC (RFC 2104), 64 bytes each. */
export interface Keys {
  get(keyId: string): { readonly ipad: Buffer; readonly opad: Buffer } | undefined
}

/** Why a message was not taken. Only `version` comes from a genuine capture: everything else may be anybody's. */
export type Rejection = 'format' | 'version' | 'key' | 'mac' | 'xid' | 'counter'

const texts = z.array(z.string())
const textMap = z.record(z.string(), z.string())
const decimal = z.string().regex(/^\d{1,20}$/)

// Any role can have a payload signed (labelled with its own name), so the shape is not taken on trust either.
const shape = z.object({
  v: z.literal(1),
  kind: z.enum(['start', 'end', 'drop', 'broken']),
  xid: decimal,
  n: decimal,
  role: z.string().min(1),
  attributes: z.object({
    superuser: z.boolean(),
    createrole: z.boolean(),
    createdb: z.boolean(),
    replication: z.boolean(),
    bypassrls: z.boolean(),
    member_of: texts,
  }),
  tag: z.string(),
  query: z.string().optional(),
  query_hash: z.string(),
  context: z.string(),
  statement_time: z.string(),
  settings: textMap,
  objects: z.array(
    z.object({
      tag: z.string(),
      type: z.string(),
      schema: z.string().nullable(),
      identity: z.string(),
      names: texts,
      args: texts,
      oid: z.string(),
      state: textMap.nullable(),
      publications: texts,
      published: texts.optional(),
      missing: textMap.optional(),
    }),
  ),
  dropped: z.array(
    z.object({
      type: z.string(),
      schema: z.string().nullable(),
      name: z.string().nullable(),
      identity: z.string(),
      names: texts,
      args: texts,
      original: z.boolean(),
      normal: z.boolean(),
      temporary: z.boolean(),
      publications: texts,
    }),
  ),
  error: z.string().optional(),
})

/**
 * Splits the content of a logical message with prefix `follower.ddl` and checks, in this order, its form, key,
 * MAC (HMAC-SHA256 over the JSON text's bytes), version, shape, transaction and counter.
 * `xid` is that of pgoutput's Begin (32 bits), `lastN` the counter of the transaction's last good message (0n at first).
 */
export function verifyDdlMessage(
  content: Buffer,
  keys: Keys,
  xid: number,
  lastN: bigint,
): { readonly message: DdlMessage } | { readonly rejected: Rejection } {
  const head = /^FLW(\d{1,9}) (\S{1,200}) ([0-9a-f]{64}) /.exec(content.toString('latin1', 0, 300))
  if (!head) return { rejected: 'format' }
  const key = keys.get(head[2]!)
  if (!key) return { rejected: 'key' }
  const payload = content.subarray(head[0].length)
  const inner = createHash('sha256').update(key.ipad).update(payload).digest()
  const mac = createHash('sha256').update(key.opad).update(inner).digest()
  if (!timingSafeEqual(mac, Buffer.from(head[3]!, 'hex'))) return { rejected: 'mac' }
  if (head[1] !== '1') return { rejected: 'version' }
  let message: unknown
  try {
    message = JSON.parse(payload.toString('utf8'))
  } catch {
    return { rejected: 'format' }
  }
  if (!isDdlMessage(message)) return { rejected: 'format' }
  if (BigInt.asUintN(32, BigInt(message.xid)) !== BigInt(xid >>> 0)) return { rejected: 'xid' }
  if (BigInt(message.n) <= lastN) return { rejected: 'counter' }
  return { message }
}

/** Keeps the parsed JSON itself: a copy made by the schema would lose a key named `__proto__`. */
function isDdlMessage(value: unknown): value is DdlMessage {
  return shape.safeParse(value).success
}
