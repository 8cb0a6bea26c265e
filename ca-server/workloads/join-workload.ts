import { subjectNamed } from '#server/access/index.ts'
import {
  assertRoleHolds,
  newSessionId,
  type Role,
  sessionKeyFact,
  sessionSshKey,
  useByMaker,
} from '#server/identity/index.ts'
import { type Entry, endedFact } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { type WorkloadName, workloadPrincipal } from '#shared/names.ts'
import { fingerprint, parsePublicKey, publicKeyFromSpki } from '#shared/ssh/index.ts'
import { parseClientKey } from '#shared/x509/index.ts'
import { goneSessions, sessionFact, tokenFact, tokenId, workloadFact } from './facts.ts'
import { announce, hashOf } from './name-workload.ts'
import type { Workloads, WorkloadsDeps } from './port.ts'
import { lockByName, type SessionRow, selectToken, setSession, type TokenRow, useToken } from './records.ts'
import type { Renewed } from './renew.ts'
import { endsOf } from './snapshot.ts'

const DEADLINE_MS = 10_000

type Request = Parameters<Workloads['join']>[0]
type At = Parameters<Workloads['join']>[1]

/**
 * Exchanges a token for a session. The name comes from the token, never from whoever has it. Both keys are proven before anything is looked
 * up, and the token is used up in the same transaction that begins the session. Gives its name, its client key, and the challenge that was used.
 */
export async function joinWorkload(deps: WorkloadsDeps, request: Request, at: At): Promise<Renewed> {
  const clientSpki = parseClientKey(request.clientPublicKey, 'clientPublicKey')
  const sshKey = parsePublicKey(request.sshPublicKey, 'sshPublicKey')
  if (sshKey.type.startsWith('sk-'))
    throw invalid('sshPublicKey', `${sshKey.type} is a key that a person has to touch, and nobody may be there`)
  const proof = deps.checkProof({ sshPublicKey: sshKey, clientSpki, proof: request.proof })
  const token = await knownToken(deps, hashOf(request.token))
  const { maker, again, workload } = token
  const { name, place } = workload
  const by = { ...at, actor: { kind: 'workload', identity: workloadPrincipal(name) } } as const
  const wants = () =>
    again
      ? [{ action: 'workload.token', in: place } as const, ...deps.becoming(name)]
      : [{ action: 'workload.add', in: place } as const]
  await deps.readyToSign()
  await useByMaker(
    deps.ledger,
    {
      ...{ maker, id: tokenId(name, token.hash), action: 'workload.token', by, goodNoMore: goodNoMore(name) },
      decide(of) {
        // Whoever holds the token may come with it again and again.
        deps.failureLimiter.take(name)
        return deps.roleOf(subjectNamed(of), wants, by)
      },
    },
    role =>
      deps.store.transaction({ name: 'workload join', deadlineMs: DEADLINE_MS }, t =>
        beginIn(deps, t, { token, role, proof, at, keys: { sshKey: sshKey.blob, clientSpki } }),
      ),
  )
  return { name, proof, clientSpki }
}

/** The token of this hash that somebody could still use. Throws `denied`, `expired`. */
async function knownToken({ ledger, store, now }: WorkloadsDeps, hash: Uint8Array): Promise<TokenRow> {
  const isOver = ({ used, endsAt }: TokenRow) => used || endsAt <= now()
  const said = (row: TokenRow) =>
    isOver(row)
      ? []
      : [tokenFact(row.workload.name, { ...row, hash, workload: row.workload.id }), workloadFact(row.workload)]
  const [token] = await ledger.vouched(async () => [await selectToken(store, hash)].flatMap(row => row ?? []), said)
  // One sentence for a token that never was and one whose workload is gone: strangers learn nothing from it.
  if (!token)
    throw new KeymanError('denied', 'this token of a workload is not known', {
      hint: 'ask for a new one: keyman workload token NAME',
    })
  if (isOver(token)) throw spent(token.workload.name)
  return { ...token, hash }
}

type Joining = {
  readonly token: TokenRow
  readonly role: Role | undefined
  readonly proof: string
  readonly at: At
  readonly keys: Pick<SessionRow, 'sshKey' | 'clientSpki'>
}

/** Uses the token up, ends the session that there was, and begins another. */
async function beginIn(deps: WorkloadsDeps, t: Queryable, { token, role, proof, at, keys }: Joining): Promise<void> {
  const { ledger, now } = deps
  const { hash, maker, workload } = token
  const { name } = workload
  const principal = workloadPrincipal(name)
  await ledger.takeEpochs(t, { bump: [principal], share: role?.epochs ?? [] })
  const row = await lockByName(t, name)
  // Before anything is decided anew: whoever came second hears that, and not that something is being changed.
  if (!row || row.id !== workload.id || !(await useToken(t, hash, now()))) throw spent(name)
  await assertRoleHolds(ledger, t, role, [principal])
  if (!ledger.facts.holds(workloadFact(row))) throw changing(name)
  const session: SessionRow = {
    id: newSessionId(deps.random),
    ...keys,
    joinedAt: now(),
    renewedAt: now(),
    replaced: [],
    from: at.from,
  }
  await setSession(t, row.id, session)
  const { endsAt } = endsOf(row, session)
  const sshFingerprint = sessionSshKey(keys.sshKey).fingerprint
  const by = { actor: { kind: 'server' }, ...at } as const
  const before = goneSessions(ledger.facts, name)
  // Of its own: what uses a token up says nothing else to be gone that its maker may have been ended after.
  const ended: Entry[] =
    before.length === 0
      ? []
      : [
          {
            ...by,
            kind: 'workload-ended',
            target: principal,
            reason: 'somebody joined with a new token',
            facts: [endedFact(principal), ...before],
          },
        ]
  // Of whoever joins for the first time nothing is open anywhere.
  const { entries } = await deps.revokeAllIn(t, principal, by, before.length === 0 ? 'keep' : 'end')
  const joined: Entry = {
    ...at,
    actor: { kind: 'workload', identity: principal, session: session.id },
    kind: 'workload-joined',
    target: principal,
    decision: 'allow',
    details: {
      sshKey: sshFingerprint,
      clientKey: fingerprint(publicKeyFromSpki(keys.clientSpki)),
      challenge: proof,
      ...(maker === undefined ? {} : { invitedBy: maker }),
    },
    facts: [
      { id: tokenId(name, hash), is: null },
      sessionFact(row, session),
      ...(deps.mayBeCertified(principal) ? [sessionKeyFact(principal, sshFingerprint, endsAt)] : []),
    ],
  }
  await ledger.appendIn(t, [...ended, ...entries, joined])
  await announce(t, name)
}

const changing = (name: WorkloadName): KeymanError =>
  new KeymanError('conflict', `${name} is being changed at this moment`, { hint: 'try again' })
const goodNoMore = (name: WorkloadName): KeymanError =>
  new KeymanError('denied', `the token of ${name} is good no more: whoever made it may not make it any more`, {
    hint: `ask somebody who may for a new one: keyman workload token ${name}`,
  })
const spent = (name: WorkloadName): KeymanError =>
  new KeymanError('expired', `the token of ${name} has ended or was used already`, {
    hint: `ask for a new one: keyman workload token ${name}`,
  })
