import type { Role } from '#server/identity/index.ts'
import { type Entry, EpochsChanged, isEndedWithAll } from '#server/ledger/index.ts'
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
/** How often it is decided anew when what it was decided from has changed. */
const ATTEMPTS = 3

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
  const { name } = token.host
  let role = await roleOfMaker(deps, token, by)
  await deps.readyToSign()

  const entry: Entry = {
    kind: 'host-joined',
    actor: { kind: 'host', name },
    requestId: by.requestId,
    from: by.from,
    target: name,
    decision: 'allow',
    details: { hostKey: fingerprint(sshKey), challenge: proof, invitedBy: token.maker },
    facts: [{ id: tokenId(token.hash), is: null }, hostFact({ ...token.host, clientSpki })],
  }
  for (let attempts = 1; ; attempts++) {
    try {
      await deps.store.transaction({ name: 'host join', deadlineMs: DEADLINE_MS }, t =>
        useIn(deps, t, { token, clientSpki, role, entry }),
      )
      break
    } catch (error) {
      if (!(error instanceof EpochsChanged)) throw error
      if (attempts === ATTEMPTS) throw changing(name)
      role = await roleOfMaker(deps, token, by, role)
    }
  }
  const epochs = await deps.ledger.readEpochs([hostSubject(name)])
  const client = await deps.issueHostClientCertificate({
    host: name,
    clientSpki,
    epochs: [...epochs].map(([subject, epoch]) => ({ subject, epoch })),
    by: { actor: { kind: 'host', name }, requestId: by.requestId, from: by.from },
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

/**
 * By which role whoever added the host may still do so; `before`: decided anew. None for a token of the operator's, or of a release that
 * did not say whose it was. Throws `denied`, which is recorded.
 */
async function roleOfMaker(
  { ledger, roleToAdd, failureLimiter }: HostsDeps,
  { maker, host, hash }: Token,
  at: { readonly requestId: string; readonly from: string },
  before?: Role,
): Promise<Role | undefined> {
  if (maker === undefined) return undefined
  const by = { ...at, actor: { kind: 'host', name: host.name } } as const
  // Whoever holds the token may come with it again and again.
  failureLimiter.take(host.name)
  const role = await (before ? before.again() : roleToAdd(maker, host.place, by)).catch((error: unknown) => {
    throw error instanceof KeymanError && error.code === 'denied' ? goodNoMore(host.name) : error
  })
  // What the log says below is newer than the epochs of this role: who is ended after it has others.
  await ledger.follow()
  if (!isEndedWithAll(ledger.facts, tokenId(hash), maker)) return role
  const reason = `all that ${maker} had was ended, who made its join token`
  await ledger.append({ ...by, kind: 'denied', target: 'host.add', decision: 'deny', reason })
  throw goodNoMore(host.name)
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
  await ledger.takeEpochs(t, { bump: [hostSubject(host.name)], share: role?.epochs ?? [] })
  if (role && !role.holds()) throw new EpochsChanged()
  const at = now()
  if (!(await useToken(t, hash, at)) || !(await setJoined(t, host.id, clientSpki, at))) throw spent(host.name)
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
