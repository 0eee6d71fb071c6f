import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { ServerError } from '../postgres/response.ts'
import { publicationNames } from '../provision/publication.ts'

/** The server's functions that say it, before 18 and since: words are translated, and the SQLSTATEs are those of much else. */
const routines: readonly string[] = ['get_publication_oid', 'LoadPublications']

/**
 * What pgoutput says where a publication is not there as of the WAL that it decodes: before PostgreSQL 18 an error, since
 * then a warning, just before it leaves out the first change. To go on would drop the changes of its tables in silence. Undefined for everything else.
 */
export function publicationMissing(settings: FollowSettings, said: Error): FollowerError | undefined {
  if (settings.plugin !== 'pgoutput' || !(said instanceof ServerError)) return undefined
  if (!routines.includes(said.routine ?? '')) return undefined
  const names = publicationNames(settings)
  const missing = names.filter((name) => said.message.includes(`"${name}"`))
  const others = names.filter((name) => !missing.includes(name))
  const named = missing.length > 0 ? `"${missing.join('", "')}"` : 'of this follow'
  return new FollowerError(`the publication ${named} does not exist at this point of the upstream's WAL`, {
    code: 'FLW-213',
    exit: ExitCode.slot,
    detail: [
      said.message,
      said.detail,
      'It was dropped or renamed; that it is there again now does not help.',
    ]
      .filter(Boolean)
      .join('\n'),
    effect:
      'the downstream is intact as of its position, and nothing was skipped; what its tables change from here until it was made again is not in the stream',
    fix: remedy(settings, missing, others),
    sqlstate: said.code,
    cause: said,
  })
}

function remedy(
  settings: FollowSettings,
  missing: readonly string[],
  others: readonly string[],
): readonly string[] {
  if (missing.length > 0 && others.length > 0)
    return settings.publications.length > 0
      ? [
          `follower start --publication ${others.join(',')} …   # goes on without its tables`,
          `once the follow is past the place where it was made again:  follower start --publication ${settings.publications.join(',')} …`,
          'and bring over the rows that its tables lack downstream',
        ]
      : [
          'if --no-identity insert-only is new: what was written before is to be followed as before',
          `follower start --name ${settings.name} --until now …   # without --no-identity insert-only`,
          `follower start --name ${settings.name} --no-identity insert-only …`,
        ]
  return [
    `follower cleanup --name ${settings.name} --upstream … --downstream …`,
    'load the tables again, while nothing writes upstream',
    `follower start --name ${settings.name} --copy none --upstream … --downstream …`,
  ]
}
