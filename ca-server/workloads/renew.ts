import { byWorkload, type SupersededKey, type WorkloadCaller } from '#server/identity/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { type WorkloadName, workloadPrincipal } from '#shared/names.ts'
import { decodePublicKey, fingerprint, publicKeyFromSpki } from '#shared/ssh/index.ts'
import { parseClientKey } from '#shared/x509/index.ts'
import { endIn } from './change-workload.ts'
import { sessionFact, sessionId } from './facts.ts'
import { announce, lockedSession } from './name-workload.ts'
import type { Workloads, WorkloadsDeps } from './port.ts'
import { lockByName, type SessionRow, setSession } from './records.ts'
import { factsOf, sessionOver } from './snapshot.ts'

/**
 * For so long nobody is alarmed by a key that was replaced, milliseconds: another process of the same workload may have read it before. It is
 * refused all the same.
 */
const STILL_IN_FLIGHT_MS = 60_000

/** Of so many of a session, the last ones: who replaces more in that time is no process of it. */
const MOST_IN_FLIGHT = 8

type At = Parameters<Workloads['renew']>[2]

/** With its key of now; of what was replaced longer ago nothing has to be known. */
const replacedBy = ({ clientSpki, replaced }: SessionRow, at: Date): SessionRow['replaced'] =>
  [
    ...replaced.filter(({ until }) => Date.parse(until) > at.getTime()),
    {
      key: fingerprint(publicKeyFromSpki(clientSpki)),
      until: new Date(at.getTime() + STILL_IN_FLIGHT_MS).toISOString(),
    },
  ].slice(-MOST_IN_FLIGHT)

/** A session, as far as it is known who has it: by its client key, proven by the challenge that was used. */
export type Renewed = { readonly name: WorkloadName; readonly proof: string; readonly clientSpki: Uint8Array }

/** See the door. Where the new key is that which counts already, nothing changes. */
export async function renewWorkload(
  deps: WorkloadsDeps,
  caller: WorkloadCaller,
  request: Parameters<Workloads['renew']>[1],
  at: At,
): Promise<Renewed> {
  const clientSpki = parseClientKey(request.clientPublicKey, 'clientPublicKey')
  const isSame = equalBytes(clientSpki, caller.clientSpki)
  if (caller.superseded && !isSame) throw caller.superseded
  const sshPublicKey = decodePublicKey(caller.ssh.blob)
  const proof = deps.checkProof({ sshPublicKey, clientSpki, proof: request.proof })
  const renewed = { name: caller.name, proof, clientSpki }
  if (isSame) return renewed
  await deps.readyToSign()
  const by = byWorkload(caller, {}, at)
  await deps.act(by, { name: 'workload renewal' }, async t => {
    const row = await lockedSession(deps, t, caller.name)
    const { session } = row
    if (session?.id !== caller.session) throw sessionOver()
    // Of two renewals at once the second came with a key that is replaced by now.
    if (!equalBytes(session.clientSpki, caller.clientSpki))
      throw new KeymanError('conflict', `${caller.name} is renewed at this moment by another process of it`, {
        hint: 'read the newer key and certificate, which lie where these lay',
      })
    const renewedAt = deps.now()
    const next = { ...session, clientSpki, renewedAt, replaced: replacedBy(session, renewedAt), from: at.from }
    await setSession(t, row.id, next)
    await deps.ledger.appendIn(t, [
      {
        ...by,
        kind: 'workload-renewed',
        target: caller.principal,
        decision: 'allow',
        details: { clientKey: fingerprint(publicKeyFromSpki(clientSpki)), challenge: proof },
        facts: [sessionFact(row, next)],
      },
    ])
    await announce(t, caller.name)
  })
  return renewed
}

/** See the door. */
export async function leaveWorkload(deps: WorkloadsDeps, caller: WorkloadCaller, at: At): Promise<void> {
  const by = byWorkload(caller, {}, at)
  const how = { name: 'workload leave', changes: [caller.principal], ends: true }
  await deps.act(by, how, async t => {
    const { entries } = await deps.revokeAllIn(t, caller.principal, by)
    const { facts } = await endIn(deps, t, caller.name, 'it ended its session itself')
    await deps.ledger.appendIn(t, [...entries, { ...by, kind: 'workload-ended', target: caller.principal, facts }])
  })
}

/** See the door. Whoever else has the newer key, or had this one, is not told apart: nobody goes on. */
export async function ringFor(deps: WorkloadsDeps, key: SupersededKey, at: At): Promise<void> {
  if (key.quietUntil && deps.now() < key.quietUntil) return
  const { workload: name, session, clientSpki } = key
  const principal = workloadPrincipal(name)
  const by = { actor: { kind: 'server' }, ...at } as const
  const why = `somebody came from ${at.from} with a key of it that had been replaced`
  await deps.ledger.follow()
  if (!(await isStillOpen(deps, deps.store, key))) return
  // Before anything is ended, and whether or not it can be.
  const alarm = (what: string) => deps.alarm(`workload ${name}: ${why}; somebody has a copy of its files: ${what}`)
  alarm('its session and certificates are ended, and it needs a new token')
  try {
    await deps.act(by, { name: 'workload superseded', changes: [principal] }, async t => {
      if (!(await isStillOpen(deps, t, key))) return
      const { entries } = await deps.revokeAllIn(t, principal, by)
      const { facts } = await endIn(deps, t, name, why)
      const details = { session, clientKey: fingerprint(publicKeyFromSpki(clientSpki)) }
      const entry = { ...by, kind: 'workload-ended', target: principal, reason: why, details, facts } as const
      await deps.ledger.appendIn(t, [...entries, entry])
    })
  } catch (error) {
    alarm(`it could not be ended (${error instanceof Error ? error.message : error}): keyman workload end ${name}`)
    throw error
  }
}

/**
 * Whether the key's session goes on by another key. A row may say anything: it speaks for another session, or for the key that comes, only
 * where the log says the same.
 */
async function isStillOpen(
  { ledger, now }: WorkloadsDeps,
  on: Queryable,
  { workload: name, session, clientSpki }: SupersededKey,
): Promise<boolean> {
  const row = await lockByName(on, name)
  if (ledger.facts.isGone(sessionId(name, session))) return false
  if (!row?.session || factsOf(row, now()).some(fact => !ledger.facts.holds(fact))) return true
  return row.session.id === session && !equalBytes(row.session.clientSpki, clientSpki)
}
