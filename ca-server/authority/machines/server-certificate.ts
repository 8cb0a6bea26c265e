import { generateKeyPairSync } from 'node:crypto'
import { parseIpAddress } from '#shared/ip-address.ts'
import type { KeyRing } from '../keys.ts'
import type { AuthorityDeps, ServerCertificate } from '../port.ts'
import { recordAndSignX509, type X509Deps } from './sign-x509.ts'

const LIFETIME = 30 * 86_400_000
const RENEW_AFTER = (LIFETIME * 2) / 3
const LOOK_EVERY = 3_600_000

export type ServerCertificateDeps = X509Deps &
  Pick<AuthorityDeps, 'now' | 'onError'> & { readonly keys: () => KeyRing; readonly newRequestId: () => string }

/** The key lives in this process only: nothing of it is to be found on a disk, and each start makes a new one. */
async function issueServerCertificate(
  deps: ServerCertificateDeps,
  names: readonly string[],
): Promise<ServerCertificate> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  return deps.signer.inTurn(async () => {
    const now = deps.now().getTime()
    const endsAt = new Date(now + LIFETIME)
    const certificate = await recordAndSignX509(deps, {
      authority: deps.keys().activeMachines(),
      profile: 'server',
      spki: publicKey.export({ format: 'der', type: 'spki' }),
      subjectAltNames: names.map(name => (parseIpAddress(name) ? { ip: name } : { dns: name })),
      notBefore: new Date(now - 60_000),
      notAfter: new Date(endsAt.getTime() - 1000),
      entry: {
        requestId: deps.newRequestId(),
        kind: 'server-certificate',
        actor: { kind: 'server' },
        target: names.join(' '),
      },
      keyId: 'machines:server',
      holder: {},
      epochs: [],
    })
    return { key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(), certificate, endsAt }
  })
}

/** Gives the first one, and `stop`. Looks each hour, so that a machine that slept renews when it wakes. */
export async function keepServerCertificate(
  deps: ServerCertificateDeps,
  names: readonly string[],
  onRenewed: (pair: ServerCertificate) => void,
): Promise<{ first: ServerCertificate; stop(): void }> {
  const first = await issueServerCertificate(deps, names)
  let { endsAt } = first
  const look = async () => {
    if (endsAt.getTime() - deps.now().getTime() > LIFETIME - RENEW_AFTER) return
    const renewed = await issueServerCertificate(deps, names)
    endsAt = renewed.endsAt
    onRenewed(renewed)
  }
  const timer = setInterval(() => void look().catch((error: unknown) => deps.onError?.(error)), LOOK_EVERY)
  timer.unref()
  return { first, stop: () => clearInterval(timer) }
}
