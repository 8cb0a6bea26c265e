import { X509Certificate } from 'node:crypto'
import type { Trust } from '#server/authority/index.ts'
import { api, type Line } from '#shared/api/index.ts'
import { fingerprint, parsePublicKey } from '#shared/ssh/index.ts'
import {
  logKeyFingerprint,
  logKeysOf,
  parseTrustDocument,
  rootFingerprint,
  type TrustBundle,
} from '#shared/trust/index.ts'
import { byOf } from '../caller.ts'
import { type Handled, handle } from '../handle.ts'

export type TrustRoutesDeps = { readonly trust: Pick<Trust, 'bundles' | 'next' | 'publish'> }

/** The trust bundle: read by anyone, since it proves itself; signed outside of the server. */
export function trustRoutes({ trust }: TrustRoutesDeps): Handled[] {
  return [
    handle(api.trust.show, async ({ query }) => ({
      bundles: (await trust.bundles(query.after)).map(({ document, signatures }) => ({
        document,
        signatures: [...signatures],
      })),
    })),
    handle(api.trust.next, async ({ body }) => ({ document: await trust.next(body.roots) })),
    handle(api.trust.publish, async request => trust.publish(request.body, byOf(request)), {
      names: async ({ body }) => bundleInWords(parseTrustDocument(body.document)),
    }),
  ]
}

/** All of it, key by key. */
function bundleInWords(bundle: TrustBundle): Line[] {
  const key = (line: string) => fingerprint(parsePublicKey(line, 'key'))
  const { roots, ssh, x509, logKey } = bundle
  return [
    { name: 'Organisation', value: `${bundle.organisation}, incarnation ${bundle.incarnation}` },
    { name: 'Format and version', value: `${bundle.format}, ${bundle.version}` },
    { name: 'Pages', value: bundle.publicUrl },
    { name: 'Machines', value: bundle.machinesUrl },
    { name: 'Host names end in', value: bundle.hostSuffixes.join(', ') },
    { name: 'Root of trust', value: rootFingerprint(roots) },
    { name: 'Root keys', value: `${roots.threshold} of ${roots.keys.map(key).join(', ')}` },
    ...ssh.userAuthorities.map(each => ({ name: 'May certify persons', value: `${key(each.key)} (${each.state})` })),
    ...ssh.hostAuthorities.map(each => ({ name: 'May certify hosts', value: `${key(each.key)} (${each.state})` })),
    ...x509.map(each => ({
      name: `Root of ${each.purpose}`,
      value: `${certificateHash(each.certificate)} (${each.state})`,
    })),
    { name: 'Log', value: logKey.name },
    ...logKeysOf(bundle).map(each => ({ name: 'May sign the log', value: logKeyFingerprint(each) })),
  ]
}

/** As `openssl x509 -fingerprint -sha256` prints it. */
const certificateHash = (pem: string): string => new X509Certificate(pem).fingerprint256
