/** Whatever moves a terminal's cursor, colours, hides or turns round what it shows: control and format characters, line ends of Unicode. */
const unprintable = /[\p{C}\p{Zl}\p{Zp}]/gu

/** Pure: a name or a value of somebody else, to stand in one line for people. */
export function printable(text: string): string {
  return text.replaceAll(unprintable, '?')
}

/** Pure: the same for text of several lines: line ends and tabs stay. */
export function printableLines(text: string): string {
  return text.replaceAll(unprintable, (each) => (each === '\n' || each === '\t' ? each : '?'))
}
