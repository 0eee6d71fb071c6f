import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import type { Conninfo } from '../model/conninfo.ts'

/** How to open one connection: plain, or TLS with these options. */
export type Transport = false | ConnectionOptions

/** Where Debian, Red Hat, SUSE and Alpine keep the certificates that the system trusts. */
const systemBundles = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
]

/** A file of a conninfo that cannot be used for TLS. */
export class TlsFileError extends Error {}

/**
 * The transports that libpq would try for the sslmode, in its order. Reads the certificate files anew: they are
 * renewed while a daemon runs. https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION
 */
export async function transports(conninfo: Conninfo): Promise<readonly Transport[]> {
  if (conninfo.host.startsWith('/') || conninfo.sslmode === 'disable') return [false]
  const tls = await tlsOptions(conninfo)
  switch (conninfo.sslmode) {
    case 'allow':
      return [false, tls]
    case 'prefer':
      return [tls, false]
    default:
      return [tls]
  }
}

async function tlsOptions(conninfo: Conninfo): Promise<ConnectionOptions> {
  const { host, sslmode, sslrootcert, sslcert, sslkey } = conninfo
  // As libpq: a root certificate turns `require` into `verify-ca`; `prefer` and `allow` promise nothing.
  const verify = sslmode.startsWith('verify-') || (sslmode === 'require' && sslrootcert !== undefined)
  const ca = verify ? await rootCertificates(sslrootcert) : undefined
  return {
    rejectUnauthorized: verify,
    ...(ca === undefined ? {} : { ca }),
    ...(sslcert === undefined ? {} : { cert: await readTlsFile(sslcert) }),
    ...(sslkey === undefined ? {} : { key: await readKey(sslkey) }),
    // With hostaddr the socket knows only an address: the name is what the certificate must be for.
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(sslmode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
  }
}

/** Undefined: Node's own list, where `system` is asked for and the system has no bundle in a known place. */
async function rootCertificates(sslrootcert: string | undefined): Promise<Buffer | undefined> {
  const file =
    sslrootcert === 'system'
      ? [process.env.SSL_CERT_FILE ?? '', ...systemBundles].find((place) => existsSync(place))
      : sslrootcert
  return file === undefined ? undefined : await readTlsFile(file)
}

async function readTlsFile(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (error) {
    throw new TlsFileError(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`, { cause: error })
  }
}

/** As libpq: a key that others may read is no secret. Root's keys may be readable by a group. */
async function readKey(file: string): Promise<Buffer> {
  const key = await readTlsFile(file)
  const { mode, uid } = await stat(file)
  if ((mode & (uid === 0 ? 0o037 : 0o077)) !== 0)
    throw new TlsFileError(`others have access to the key file ${file} (mode ${(mode & 0o777).toString(8)})`)
  return key
}

/** True where the failure speaks of TLS itself: not offered, no common protocol, a certificate, a file. */
export function isTlsFailure(error: unknown): boolean {
  if (!(error instanceof Error) || 'severity' in error) return false
  if (error instanceof TlsFileError || /does not support SSL|establishing an SSL/.test(error.message))
    return true
  const code = 'code' in error ? String(error.code) : ''
  return /^(ERR_SSL_|ERR_TLS_|ERR_OSSL_|EPROTO$|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_CA|HOSTNAME_MISMATCH)/.test(
    code,
  )
}
