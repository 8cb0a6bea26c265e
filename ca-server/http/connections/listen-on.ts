import type { Server } from 'node:net'
import { KeymanError } from '#shared/errors.ts'

type Where = {
  /** Which of the two listeners: the first part of its setting. */
  readonly name: string
  readonly listen: { readonly host: string; readonly port: number }
}

/** What listen(2) says, as far as a configuration can be the reason. */
const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is taken by another program',
  EACCES: 'may not be used by this user',
  EADDRNOTAVAIL: 'is no address of this machine',
  ENOTFOUND: 'does not resolve',
}

/** Throws `unavailable` that names the setting. */
export function listenOn(server: Server, { listen, name }: Where): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: Error & { code?: string }) => {
      const { code = 'unknown reason' } = error
      const message = `${listen.host} port ${listen.port} ${REASONS[code] ?? `can't be listened on (${code})`}`
      const privileged = code === 'EACCES' ? '; ports below 1024 want CAP_NET_BIND_SERVICE, as the unit gives it' : ''
      reject(
        new KeymanError('unavailable', `${name}.listen: ${message}`, {
          hint: `set another address with ${name}.listen in the configuration or KEYMAN_${name.toUpperCase()}_LISTEN${privileged}`,
          fields: [{ field: `${name}.listen`, message }],
        }),
      )
    })
    server.listen(listen.port, listen.host, () => {
      server.removeAllListeners('error')
      resolve()
    })
  })
}
