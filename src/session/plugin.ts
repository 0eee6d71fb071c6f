import { decodePgoutput } from '../decode/pgoutput.ts'
import type { StreamSink } from '../decode/sink.ts'
import { StreamedDecoder } from '../decode/streamed.ts'
import { Wal2jsonDecoder, wal2jsonOptions } from '../decode/wal2json.ts'
import type { FollowSettings, OutputPlugin } from '../model/follow.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'

/** Takes one message of the plugin; its bytes are valid only during the call. */
export type Decode = (buffer: Buffer, offset: number, length: number) => void

/** How values, and transactions, come. */
export interface Sending {
  readonly binary: boolean
  /** Large transactions come before their commit. */
  readonly streaming: boolean
}

interface Plugin {
  /** Of its protocol or format. `streaming`: large transactions come before their commit. */
  version(streaming: boolean): string
  /** Options of START_REPLICATION. */
  options(publications: readonly string[], sending: Sending): Readonly<Record<string, string>>
  decoder(sink: StreamSink, settings: FollowSettings, streaming: boolean): Decode
}

/** All that depends on the output plugin while the stream runs. */
export const pluginOf: Readonly<Record<OutputPlugin, Plugin>> = {
  pgoutput: {
    version: (streaming) => (streaming ? '2' : '1'),
    options: (publications, { binary, streaming }) => ({
      ...(streaming ? { proto_version: '2', streaming: 'on' } : { proto_version: '1' }),
      publication_names: publications.map(quoteIdentifier).join(','),
      messages: 'true',
      ...(binary && { binary: 'true' }),
    }),
    decoder: (sink, _settings, streaming) => {
      if (!streaming) return (buffer, offset, length) => decodePgoutput(buffer, offset, length, sink)
      const decoder = new StreamedDecoder(sink)
      return (buffer, offset, length) => decoder.decode(buffer, offset, length)
    },
  },
  wal2json: {
    version: () => '2',
    options: () => wal2jsonOptions,
    decoder: (sink, settings) => {
      const decoder = new Wal2jsonDecoder(sink, settings)
      return (buffer, offset, length) => decoder.decode(buffer, offset, length)
    },
  },
}
