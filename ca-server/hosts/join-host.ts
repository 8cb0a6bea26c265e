import { fromBase64 } from '#shared/bytes.ts'
import { canonicalJson } from '#shared/canonical-json.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import type { HostName } from '#shared/names.ts'
import { fingerprint, parsePublicKey } from '#shared/ssh/index.ts'
import { readSpki } from '#shared/x509/index.ts'
import { hostFact, tokenFact, tokenId } from './facts.ts'
import { hashOf } from './name-host.ts'
import type { HostsDeps, IssuedClientCertificate, JoinRequest } from './port.ts'
import { bumpChange, selectToken, setJoined, useToken } from './records.ts'
import { hostSubject } from './snapshot.ts'

const DEADLINE_MS = 10_000

/**
 * Exchanges a join token for the host's client certificate. Name and labels come from the token, never from the joiner
 * (invariant 13). Both keys are proven before anything is looked up, the token is used up in the same transaction that
 * binds the host to its client key (and not where nothing can be signed at the moment), and only then is a certificate issued, to that key.
 */
export async function joinHost(
  deps: HostsDeps,
  request: JoinRequest,
  by: { readonly requestId: string; readonly from: string },
): Promise<{ host: HostName; organisation: string; client: IssuedClientCertificate }> {
  const clientSpki = readClientKey(request.clientPublicKey)
  const sshKey = parsePublicKey(request.sshPublicKey, 'sshPublicKey')
  if (sshKey.type.startsWith('sk-'))
    throw invalid('sshPublicKey', `${sshKey.type} is a person's hardware key, not a host key`)
  const proof = await deps.checkJoinProof({ sshPublicKey: sshKey, clientSpki, proof: request.proof })

  const hash = hashOf(request.token)
  const [token] = await deps.ledger.vouched(
    async () => {
      const row = await selectToken(deps.store, hash)
      return row ? [row] : []
    },
    row =>
      row.used || row.endsAt <= deps.now() ? [] : [tokenFact({ ...row, hash, host: row.host.id }), hostFact(row.host)],
  )
  // One sentence for a token that never was and one whose host is gone: strangers learn nothing from it.
  if (!token)
    throw new KeymanError('denied', 'this join token is not known', { hint: 'make a new one: keyman host add NAME' })
  if (token.used || token.endsAt <= deps.now()) throw spent(token.host.name)
  await deps.readyToSign()

  await deps.store.transaction({ name: 'host join', deadlineMs: DEADLINE_MS }, async t => {
    await deps.ledger.bumpEpochs(t, [hostSubject(token.host.name)])
    const at = deps.now()
    if (!(await useToken(t, hash, at)) || !(await setJoined(t, token.host.id, clientSpki, at)))
      throw spent(token.host.name)
    await bumpChange(t)
    // Its labels, say: somebody may have changed the host since it was read.
    const now = await selectToken(t, hash)
    if (!now || canonicalJson(hostFact(now.host).is) !== canonicalJson(hostFact({ ...token.host, clientSpki }).is))
      throw new KeymanError('conflict', `${token.host.name} is being changed at this moment`, { hint: 'try again' })
    await deps.ledger.appendIn(t, [
      {
        kind: 'host-joined',
        actor: { kind: 'host', name: token.host.name },
        requestId: by.requestId,
        from: by.from,
        target: token.host.name,
        decision: 'allow',
        details: { hostKey: fingerprint(sshKey), challenge: proof },
        facts: [{ id: tokenId(hash), is: null }, hostFact({ ...token.host, clientSpki })],
      },
    ])
  })
  const epochs = await deps.ledger.readEpochs([hostSubject(token.host.name)])
  const client = await deps.issueHostClientCertificate({
    host: token.host.name,
    clientSpki,
    epochs: [...epochs].map(([subject, epoch]) => ({ subject, epoch })),
    by: { actor: { kind: 'host', name: token.host.name }, requestId: by.requestId, from: by.from },
    proof,
  })
  return { host: token.host.name, organisation: deps.organisation, client }
}

const spent = (name: HostName): KeymanError =>
  new KeymanError('expired', `the join token of ${name} has ended or was used already`, {
    hint: `make a new one: keyman host remove ${name}, then keyman host add ${name}`,
  })

function readClientKey(base64: string): Uint8Array {
  let der: Uint8Array
  try {
    der = fromBase64(base64)
  } catch {
    throw invalid('clientPublicKey', 'is not base64')
  }
  const { algorithm } = readSpki(der, 'clientPublicKey')
  if (algorithm !== 'ecdsa-p256') throw invalid('clientPublicKey', `must be a P-256 key, not ${algorithm}`)
  return der
}
