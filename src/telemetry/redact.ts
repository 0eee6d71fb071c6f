const removed = '[redacted]'

/**
 * Texts that no output may show: the passwords of this process's connections. A process has one set, since
 * every way out (log, error text, JSON) must know all of them.
 */
const secrets = new Set<string>()

/** Shorter ones would cut ordinary words out of every line and so tell more than they hide. */
const shortest = 6

/** Makes `redact` remove `secret`, as it is, as JSON writes it and as a URI writes it. */
export function protectSecret(secret: string | undefined): void {
  if (secret === undefined || secret.length < shortest) return
  for (const form of [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)])
    secrets.add(form)
}

/**
 * Takes passwords out of a text: the protected ones, and whatever stands where a conninfo, a URI, a SQL
 * statement (`PASSWORD '…'`, `OPTIONS (password '…')`) or a JSON field has its password.
 */
export function redact(text: string): string {
  let result = text
  for (const secret of secrets) result = result.replaceAll(secret, removed)
  return result
    .replace(/(:\/\/[^\s:@/"']*:)[^\s@"']*@/g, `$1${removed}@`)
    .replace(/(\bpassword\s*[=:]?\s*)'(?:[^'\\]|\\.|'')*'/gi, `$1'${removed}'`)
    .replace(/(\bpassword\s*=\s*)(?!'|\[redacted\])(?:\\.|[^\s"'&\\])+/gi, `$1${removed}`)
    .replace(/("[a-z_]*password":)"(?:[^"\\]|\\.)*"/gi, `$1"${removed}"`)
}
