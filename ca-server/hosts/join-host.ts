import { assertRoleHolds, type Role, useByMaker } from '#server/identity/index.ts'
import type { Entry } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { canonicalJson } from '#shared/canonical-json.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import type { HostName } from '#shared/names.ts'
import { fingerprint, parsePublicKey } from '#shared/ssh/index.ts'
import { parseClientKey } from '#shared/x509/index.ts'
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
  const clientSpki = parseClientKey(request.clientPublicKey, 'clientPublicKey')
  const sshKey = parsePublicKey(request.sshPublicKey, 'sshPublicKey')
  if (sshKey.type.startsWith('sk-'))
    throw invalid('sshPublicKey', `${sshKey.type} is a person's hardware key, not a host key`)
  const proof = await deps.checkJoinProof({ sshPublicKey: sshKey, clientSpki, proof: request.proof })

  const token = await knownToken(deps, hashOf(request.token))
  const { host, maker } = token
  const { name } = host
  const joining = { actor: { kind: 'host', name }, ...by } as const
  await deps.readyToSign()

  const entry: Entry = {
    ...joining,
    kind: 'host-joined',
    target: name,
    decision: 'allow',
    details: { hostKey: fingerprint(sshKey), challenge: proof, invitedBy: maker },
    facts: [{ id: tokenId(token.hash), is: null }, hostFact({ ...host, clientSpki })],
  }
  await useByMaker(
    deps.ledger,
    {
      ...{ maker, id: tokenId(token.hash), action: 'host.add', by: joining, goodNoMore: goodNoMore(name) },
      decide(of) {
        // Whoever holds the token may come with it again and again.
        deps.failureLimiter.take(name)
        return deps.roleToAdd(of, host.place, joining)
      },
    },
    role =>
      deps.store.transaction({ name: 'host join', deadlineMs: DEADLINE_MS }, t =>
        useIn(deps, t, { token, clientSpki, role, entry }),
      ),
  )
  const epochs = await deps.ledger.readEpochs([hostSubject(name)])
  const client = await deps.issueHostClientCertificate({
    host: name,
    clientSpki,
    epochs: [...epochs].map(([subject, epoch]) => ({ subject, epoch })),
    by: joining,
    proof,
  })
  return { host: name, organisation: deps.organisation, client }
}

type Token = NonNullable<Awaited<ReturnType<typeof selectToken>>>

/** The token of this hash that somebody could still use. Throws `denied`, `expired`. */
async function knownToken({ ledger, store, now }: HostsDeps, hash: Uint8Array): Promise<Token> {
  const isOver = ({ used, endsAt }: Token) => used || endsAt <= now()
  const [token] = await ledger.vouched(
    async () => {
      const row = await selectToken(store, hash)
      return row ? [row] : []
    },
    row => (isOver(row) ? [] : [tokenFact({ ...row, hash, host: row.host.id }), hostFact(row.host)]),
  )
  // One sentence for a token that never was and one whose host is gone: strangers learn nothing from it.
  if (!token)
    throw new KeymanError('denied', 'this join token is not known', { hint: 'make a new one: keyman host add NAME' })
  if (isOver(token)) throw spent(token.host.name)
  return { ...token, hash }
}

/** Uses the token up, and binds the host to its client key. */
async function useIn(
  { ledger, now }: HostsDeps,
  t: Queryable,
  join: {
    readonly token: Token
    readonly clientSpki: Uint8Array
    readonly role: Role | undefined
    readonly entry: Entry
  },
): Promise<void> {
  const { token, clientSpki, role, entry } = join
  const { host, hash } = token
  const subject = hostSubject(host.name)
  await ledger.takeEpochs(t, { bump: [subject], share: role?.epochs ?? [] })
  const at = now()
  // Before anything is decided anew: whoever came second hears that, and not that something is being changed.
  if (!(await useToken(t, hash, at)) || !(await setJoined(t, host.id, clientSpki, at))) throw spent(host.name)
  await assertRoleHolds(ledger, t, role, [subject])
  // What is said of it below is what it was when it was read: that must be what the log says still.
  if (!ledger.facts.holds(hostFact(host))) throw changing(host.name)
  await bumpChange(t)
  // Its labels, say: somebody may have changed the host since it was read.
  const after = await selectToken(t, hash)
  if (!after || canonicalJson(hostFact(after.host).is) !== canonicalJson(hostFact({ ...host, clientSpki }).is))
    throw changing(host.name)
  await ledger.appendIn(t, [entry])
}

const changing = (name: HostName): KeymanError =>
  new KeymanError('conflict', `${name} is being changed at this moment`, { hint: 'try again' })
const goodNoMore = (name: HostName): KeymanError =>
  new KeymanError(
    'denied',
    `the join token of ${name} is good no more: whoever made it may not add this host any more`,
    {
      hint: `ask somebody who may for a new one: keyman host remove ${name}, then keyman host add ${name}`,
    },
  )
const spent = (name: HostName): KeymanError =>
  new KeymanError('expired', `the join token of ${name} has ended or was used already`, {
    hint: `make a new one: keyman host remove ${name}, then keyman host add ${name}`,
  })
