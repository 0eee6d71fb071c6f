import { suggest } from '../model/suggest.ts'

/** Why a text is no valid value; whoever catches it knows of which option. */
export class ValueProblem extends Error {
  override readonly name = 'ValueProblem'
}

/** The problem of a word that is none of `known`. */
export function unknownWord(word: string, what: string, known: readonly string[]): ValueProblem {
  const near = suggest(word, known)
  const question = near === undefined ? '' : `; did you mean ${near}?`
  return new ValueProblem(
    `${word === '' ? 'nothing' : word} is no ${what}; there are ${known.join(', ')}${question}`,
  )
}
