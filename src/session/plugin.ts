import { decodePgoutput } from '../decode/pgoutput.ts'
import type { DecodeSink } from '../decode/sink.ts'
import { Wal2jsonDecoder, wal2jsonOptions } from '../decode/wal2json.ts'
import type { FollowSettings, OutputPlugin } from '../model/follow.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'

/** Takes one message of the plugin; its bytes are valid only during the call. */
export type Decode = (buffer: Buffer, offset: number, length: number) => void

interface Plugin {
  /** Of its protocol or format. */
  readonly version: string
  /** Options of START_REPLICATION. */
  options(publications: readonly string[], binary: boolean): Readonly<Record<string, string>>
  decoder(sink: DecodeSink, settings: FollowSettings): Decode
}

/** All that depends on the output plugin while the stream runs. */
export const pluginOf: Readonly<Record<OutputPlugin, Plugin>> = {
  pgoutput: {
    version: '1',
    options: (publications, binary) => ({
      proto_version: '1',
      publication_names: publications.map(quoteIdentifier).join(','),
      messages: 'true',
      ...(binary && { binary: 'true' }),
    }),
    decoder: (sink) => (buffer, offset, length) => decodePgoutput(buffer, offset, length, sink),
  },
  wal2json: {
    version: '2',
    options: () => wal2jsonOptions,
    decoder: (sink, settings) => {
      const decoder = new Wal2jsonDecoder(sink, settings)
      return (buffer, offset, length) => decoder.decode(buffer, offset, length)
    },
  },
}
