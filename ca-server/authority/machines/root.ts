import type { MachinesAuthority } from '../keys.ts'
import { recordAndSignX509, type X509Deps } from './sign-x509.ts'

const LIFETIME = 10 * 365 * 86_400_000

/** The machine authority's self-signed root, PEM. Its signature is recorded like any other by an authority key. */
export const issueRoot = (
  deps: X509Deps & { readonly now: () => Date },
  authority: Omit<MachinesAuthority, 'root'>,
  requestId: string,
): Promise<string> =>
  recordAndSignX509(deps, {
    authority,
    profile: 'root',
    spki: authority.spki,
    subjectAltNames: [],
    notBefore: new Date(deps.now().getTime() - 60_000),
    notAfter: new Date(deps.now().getTime() + LIFETIME),
    entry: {
      requestId,
      kind: 'authority-key-created',
      actor: { kind: 'server' },
      target: authority.label,
      details: { purpose: 'machines', state: authority.state, algorithm: authority.algorithm },
    },
    keyId: 'machines:root',
    holder: {},
    epochs: [],
  })
