import type { Ledger } from '#server/ledger/index.ts'
import { parseKeyId, parseUserPrincipal } from '#shared/names.ts'
import { formatCertificate } from '#shared/ssh/index.ts'
import { publicHalfOfNewKey, type SshAuthority } from '../keys.ts'
import type { Signer } from '../sign.ts'
import { recordAndSign } from './sign-certificate.ts'

export const CANARY_SERIAL = 1n
export const CANARY_KEY_ID = parseKeyId('canary:keyman', 'keyId')

/**
 * Serial 1 of a user authority: for a key that nobody has, for a principal that no host lets in, over after a minute, and
 * revoked for ever; so whoever reads a KRL can test that it is the real one. Recorded like any other.
 */
export async function issueCanary(
  deps: { ledger: Pick<Ledger, 'issue'>; signer: Signer; now: () => Date; random: (bytes: number) => Uint8Array },
  authority: SshAuthority,
  requestId: string,
): Promise<string> {
  const now = BigInt(Math.floor(deps.now().getTime() / 1000))
  const blob = await recordAndSign(deps, {
    authority,
    body: {
      kind: 'user',
      nonce: deps.random(32),
      subjectKey: publicHalfOfNewKey(),
      serial: CANARY_SERIAL,
      keyId: CANARY_KEY_ID,
      principals: [parseUserPrincipal('canary:keyman', 'principal')],
      validAfter: now,
      validBefore: now + 60n,
      criticalOptions: {},
      extensions: [],
      authorityKey: authority.ssh,
    },
    entry: { requestId, kind: 'canary', actor: { kind: 'server' }, target: authority.label },
    holder: {},
    epochs: [],
  })
  return formatCertificate(blob)
}
