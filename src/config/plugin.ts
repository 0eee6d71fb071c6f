import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'

/**
 * What the plugins can't do. Throws FollowerError exit 2.
 *
 * wal2json knows no publications. It could choose tables by name, but names change (RENAME, ATTACH and DETACH PARTITION,
 * SET SCHEMA), and rows would be dropped in silence; so `--tables` is refused as well.
 */
export function checkPlugin(settings: FollowSettings): void {
  const wrong =
    settings.plugin === 'wal2json'
      ? [
          ...(settings.publications.length > 0 ? ['--publication'] : []),
          ...(settings.tables.length > 0 ? ['--tables'] : []),
          ...(settings.noIdentity === 'insert-only' ? ['--no-identity insert-only'] : []),
          ...(settings.streaming ? ['--streaming on'] : []),
          ...(settings.copy !== undefined && settings.copy !== 'none' ? [`--copy ${settings.copy}`] : []),
        ]
      : settings.nanAsNull
        ? ['--nan-as-null']
        : []
  if (wrong.length === 0) return
  throw new FollowerError(`--plugin ${settings.plugin} goes without ${wrong.join(', ')}`, {
    code: 'FLW-030',
    exit: ExitCode.usage,
    detail:
      settings.plugin === 'wal2json'
        ? 'wal2json knows no publications: it sends every row of every table.'
        : 'pgoutput sends NaN and Infinity as they are.',
    effect: 'nothing was started',
    fix: [
      `leave ${wrong.join(', ')} out`,
      settings.plugin === 'wal2json'
        ? 'or follower start --plugin pgoutput …'
        : 'or follower start --plugin wal2json …',
    ],
  })
}
