/**
 * True where a conninfo carries a password in its text. Rather once too often: what it decides is
 * a warning and what `ps` shows.
 */
export function carriesPassword(conninfo: string): boolean {
  if (/pass(word|wd)?\s*=/i.test(conninfo)) return true
  const authority = /postgres(?:ql)?:\/\/(.*)@/s.exec(conninfo)?.[1]
  return authority?.includes(':') ?? false
}

/** The command line as `ps` may show it: without node, and with every conninfo that carries a password taken out. */
export function publicCommandLine(args: readonly string[]): string {
  const shown = args.map((arg) => {
    if (!carriesPassword(arg)) return arg
    const flag = /^(--[a-z-]+=)/.exec(arg)?.[1] ?? ''
    return `${flag}[redacted]`
  })
  return ['follower', ...shown].join(' ')
}
