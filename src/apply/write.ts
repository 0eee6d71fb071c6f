import type { RowChange } from '../model/changes.ts'
import { type Tuple, valueBinary, valueText } from '../model/tuple.ts'
import type { MessageWriter } from '../postgres/writer.ts'
import type { Prepared } from './prepared.ts'
import { TextWanted } from './text-wanted.ts'

/** Writes one change as Bind and Execute of its statement, its values straight from the received bytes. */
export function writeChange(writer: MessageWriter, prepared: Prepared, change: RowChange): void {
  const { parameters } = prepared.statement
  parseOnce(writer, prepared)
  let bytes = 0
  let texts = 0
  let binaries = 0
  for (let i = 0; i < parameters.length; i++) {
    const ref = parameters[i]!
    const tuple = ref >= 0 ? change.newTuple : change.oldTuple
    const column = ref >= 0 ? ref : -1 - ref
    const kind = tuple.kind[column]
    if (kind === valueText) texts++
    else if (kind === valueBinary) binaries++
    else continue
    bytes += tuple.length[column]!
  }
  if (texts > 0 && binaries > 0) throw new TextWanted('a type has no binary representation')
  writer.bind(prepared.name, parameters.length, bytes, binaries > 0)
  for (let i = 0; i < parameters.length; i++) {
    const ref = parameters[i]!
    const tuple = ref >= 0 ? change.newTuple : change.oldTuple
    const column = ref >= 0 ? ref : -1 - ref
    if (isSent(tuple, column)) writer.value(tuple.buffer, tuple.start[column]!, tuple.length[column]!)
    else writer.nullValue()
  }
  writer.endBindAndExecute()
}

function isSent({ kind }: Tuple, column: number): boolean {
  return kind[column] === valueText || kind[column] === valueBinary
}

/** Has the server know the statement by its name. */
export function parseOnce(writer: MessageWriter, prepared: Prepared): void {
  if (prepared.parsed) return
  writer.parse(prepared.name, prepared.statement.sql, prepared.statement.types)
  // What has no name is parsed each time.
  prepared.parsed = prepared.name !== ''
}

/** Writes a statement that takes no values. */
export function writeStatement(writer: MessageWriter, { name, statement }: Prepared): void {
  writer.parse(name, statement.sql, statement.types)
  writer.bind(name, 0, 0)
  writer.endBindAndExecute()
}
