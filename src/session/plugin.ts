import type pg from 'pg'
import { decodePgoutput } from '../decode/pgoutput.ts'
import type { DecodeSink } from '../decode/sink.ts'
import { type TableName, Wal2jsonDecoder, wal2jsonOptions } from '../decode/wal2json.ts'
import type { FollowSettings, OutputPlugin } from '../model/follow.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'

/** Takes one message of the plugin; its bytes are valid only during the call. */
export type Decode = (buffer: Buffer, offset: number, length: number) => void

/** What a decoder may need beyond the messages. */
export interface DecodeContext {
  readonly settings: FollowSettings
  readonly sink: DecodeSink
  /** An ordinary session upstream. */
  readonly upstream: pg.Client
  /** Holds the stream back while something is looked up, then lets it go on. */
  readonly hold: (held: boolean) => void
  readonly failed: (error: Error) => void
}

interface Plugin {
  /** Of its protocol or format. */
  readonly version: string
  /** Options of START_REPLICATION. */
  options(publications: readonly string[]): Readonly<Record<string, string>>
  decoder(context: DecodeContext): Decode
}

/** All that depends on the output plugin while the stream runs. */
export const pluginOf: Readonly<Record<OutputPlugin, Plugin>> = {
  pgoutput: {
    version: '1',
    options: (publications) => ({
      proto_version: '1',
      publication_names: publications.map(quoteIdentifier).join(','),
      messages: 'true',
    }),
    decoder:
      ({ sink }) =>
      (buffer, offset, length) =>
        decodePgoutput(buffer, offset, length, sink),
  },
  wal2json: { version: '2', options: () => wal2jsonOptions, decoder: wal2json },
}

/**
 * wal2json sends rows of materialized views, too, and doesn't say so. So what the decoder can't tell from one is looked up when
 * it is met for the first time; what comes meanwhile waits. What is gone by now was a table, as far as anybody can tell.
 */
function wal2json({ settings, sink, upstream, hold, failed }: DecodeContext): Decode {
  const decoder = new Wal2jsonDecoder(sink, settings)
  const waiting: Buffer[] = []
  const look = async (table: TableName): Promise<void> => {
    const { rows } = await upstream.query<{ kind: string }>(sql('query/relation_kind'), [
      table.schema,
      table.name,
    ])
    decoder.tell(table, rows[0]?.kind !== 'm')
  }
  const goOn = async (first: TableName): Promise<void> => {
    hold(true)
    await look(first)
    for (let record = waiting[0]; record; record = waiting[0]) {
      const unknown = decoder.decode(record, 0, record.length)
      if (unknown) await look(unknown)
      else waiting.shift()
    }
    hold(false)
  }
  return (buffer, offset, length) => {
    const unknown = waiting.length === 0 ? decoder.decode(buffer, offset, length) : undefined
    if (waiting.length === 0 && !unknown) return
    waiting.push(Buffer.from(buffer.subarray(offset, offset + length)))
    if (unknown) goOn(unknown).catch(failed)
  }
}
