/** What a person sees of a terminal: lines of text, as far as the program uses of its sequences. Others throw. */
export function terminal() {
  const lines: string[] = ['']
  let line = 0
  let column = 0
  const put = (character: string): void => {
    const text = lines[line]!.padEnd(column)
    lines[line] = text.slice(0, column) + character + text.slice(column + 1)
    column++
  }
  const control = (parameters: string, command: string): void => {
    if (command === 'A') line = Math.max(0, line - Number(parameters || 1))
    else if (command === 'J') {
      lines.splice(line + 1)
      lines[line] = lines[line]!.slice(0, column)
    } else if (!(command === 'm' || (parameters === '?7' && /[hl]/.test(command))))
      throw new Error(`a terminal is sent ESC [ ${parameters}${command}`)
  }
  return {
    /** Without the empty one that the cursor stands in. */
    get lines(): readonly string[] {
      return lines.map((text) => text.trimEnd()).filter((text, i) => text !== '' || i < lines.length - 1)
    },
    /** Whole sequences only. */
    write(text: string): void {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: terminals are made of them
      for (const [part, parameters, command] of text.matchAll(/\x1b\[([?\d;]*)([A-Za-z])|./gsu)) {
        if (command !== undefined) control(parameters!, command)
        else if (part === '\r') column = 0
        else if (part === '\n') {
          line++
          column = 0
          if (line === lines.length) lines.push('')
        } else put(part)
      }
    },
  }
}
