import type { Command } from 'commander'
import { readCopyRequest } from '../config/copying.ts'
import { readFollowEnds } from '../config/settings.ts'
import { printable } from '../model/printable.ts'
import { askCopy } from '../provision/copy-request.ts'
import { isFollowed } from '../provision/lock.ts'
import { displayTable } from '../provision/tables.ts'
import { addEnds, type EndOptions, warn } from './ends.ts'
import { withReachable } from './reach.ts'

const examples = `
Examples:
  follower copy --upstream postgres://app@db1/shop --downstream postgres://app@db2/shop --tables public.orders
  follower copy --name shop --upstream … --downstream … --tables public.orders,public.lines --overwrite

A running follower copies the tables at once, otherwise the next start does.
Exit codes: 0 asked; 2 no such follow, or such tables are not followed, missing, or hold rows; 4 or 5 an end is out of reach;
6 foreign keys would be checked meanwhile.`

type Options = EndOptions & {
  readonly tables?: string
  readonly overwrite?: boolean
  readonly json?: true
}

/** `follower copy`: asks through the downstream database that tables be copied, again or late. */
export function addCopy(program: Command): void {
  addEnds(program.command('copy').description('copy tables of a follow, for the first time or again'))
    .option('--tables <list>', 'such as public.orders,"My schema"."Table, one"')
    .option('--overwrite', 'replace the rows that are there downstream')
    .option('--json', 'as JSON, schema follower.copy/1')
    .addHelpText('after', examples)
    .action(copy)
}

async function copy({ json, tables: list, overwrite = false, ...options }: Options): Promise<void> {
  const tables = readCopyRequest(list).map(({ schema, table: name }) => ({ schema, name }))
  const follow = readFollowEnds(options, process.env)
  warn(options)
  await withReachable(follow, 'copy', async ({ ends: { upstream, downstream }, failures }) => {
    if (!upstream || !downstream) throw failures[0]
    const { name } = follow
    await askCopy(upstream, downstream, { name, tables, overwrite })
    const running = await isFollowed(downstream, name)
    const names = tables.map(displayTable)
    const text = `${names.join(', ')} of ${name}: copied ${running ? 'now' : 'by the next start, since no follower is running'}`
    process.stdout.write(
      `${json ? JSON.stringify({ schema: 'follower.copy/1', name, tables: names, overwrite, running }) : printable(text)}\n`,
    )
  })
}
