import type { Ledger } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import type { Line } from '#shared/api/index.ts'
import { canonicalJson } from '#shared/canonical-json.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { grantText } from '#shared/grant-text.ts'
import { describe } from '../describe.ts'
import { givenTo, grantFact } from '../facts.ts'
import type { By, Grant, GrantChange } from '../port.ts'
import { selectGrant, updateGrant } from '../records.ts'
import { endOf } from '../roles.ts'
import { withGrant } from '../snapshot.ts'
import { refuseSame } from './add-grant.ts'
import { assertToCome, type ChangeDeps, holders, noSuchGrant, wholeSeconds } from './change.ts'
import { changeUnderRoles, ownRolesInWords, rolesTaken } from './own-roles.ts'

/** Changes the limits and the end of a grant: whom it is to, what it gives and where stays as it is. See the door. */
export async function changeGrant(
  deps: ChangeDeps,
  id: string,
  wanted: GrantChange,
  by: By,
): Promise<{ readonly before: Grant; readonly grant: Grant }> {
  await deps.ledger.follow()
  const known = await knownGrant(deps.ledger, deps.store, id)
  const touched = { roles: rolesTaken(known), ...holders(deps.ledger, known.who) }
  return changeUnderRoles(deps, 'grant change', touched, by, async t => {
    const before = await knownGrant(deps.ledger, t, id)
    const after = changedGrant(before, wanted)
    if (wanted.endsAt) assertToCome(after, deps.now())
    if (canonicalJson(givenTo(before)) === canonicalJson(givenTo(after)))
      throw new KeymanError('conflict', `${id} is so already: nothing would change`)
    deps.assertFits(now => withGrant(now, after), 'options')
    // One that the log has not been asked for is none, and stands in nobody's way: `known` was asked for a moment ago.
    await refuseSame(deps, t, after)
    await updateGrant(t, after)
    await deps.ledger.appendIn(t, [
      {
        ...by,
        kind: 'grant-changed',
        target: id,
        details: { before: describe(before), ...givenTo(after), words: describe(after) },
        facts: [grantFact(after)],
      },
    ])
    return { before, grant: after }
  })
}

/** What it gives now, and what it would then, for whoever is to touch a passkey for it. */
export async function changeInWords(
  ledger: Pick<Ledger, 'facts'>,
  on: Queryable,
  id: string,
  wanted: GrantChange,
): Promise<Line[]> {
  const before = await knownGrant(ledger, on, id)
  return [
    { name: 'It gives now', value: grantText(before) },
    { name: 'It gives then', value: grantText(changedGrant(before, wanted)) },
    ...(await ownRolesInWords(ledger, on, [before])),
  ]
}

/** Throws `not-found` where no row has that id, `conflict` where the log says otherwise of it. */
async function knownGrant({ facts }: Pick<Ledger, 'facts'>, on: Queryable, id: string): Promise<Grant> {
  const grant = await selectGrant(on, id)
  if (!grant) throw noSuchGrant(id)
  if (grant.id !== id || !facts.holds(grantFact(grant)))
    throw new KeymanError('conflict', `what the database says of the grant ${id} is not what the audit log says`, {
      hint: 'try again in a moment; if it stays so, somebody changed it: see the server log',
    })
  return grant
}

/** Pure: whether a grant lets in longer, from elsewhere or to more than it did before a change of it. */
export function isWider(before: Grant, after: Grant): boolean {
  if (endOf(after.endsAt) > endOf(before.endsAt)) return true
  if (before.kind !== 'login' || after.kind !== 'login') return false
  const [was, is] = [before.options, after.options]
  const { sourceAddress } = was
  return (
    after.maxLifetime > before.maxLifetime ||
    FREEDOMS.some(freedom => is[freedom] && !was[freedom]) ||
    (sourceAddress !== undefined && !is.sourceAddress?.every(address => sourceAddress.includes(address))) ||
    (was.forceCommand !== undefined && is.forceCommand !== was.forceCommand)
  )
}
const FREEDOMS = ['pty', 'portForwarding', 'agentForwarding', 'x11Forwarding'] as const

/** Pure: the grant as it is wanted. Throws `invalid-input` for what its kind does not have. */
export function changedGrant(grant: Grant, { endsAt, maxLifetime, options }: GrantChange): Grant {
  const { endsAt: before, ...rest } = grant
  const end = endsAt === undefined ? before : endsAt === null ? undefined : wholeSeconds(endsAt)
  const ends = end === undefined ? {} : { endsAt: end }
  if (rest.kind === 'login') {
    const was = rest.options
    const { pty = was.pty, portForwarding = was.portForwarding } = options ?? {}
    const { agentForwarding = was.agentForwarding, x11Forwarding = was.x11Forwarding } = options ?? {}
    const { sourceAddress = was.sourceAddress, forceCommand = was.forceCommand } = options ?? {}
    return {
      ...rest,
      ...ends,
      maxLifetime: maxLifetime ?? rest.maxLifetime,
      options: {
        ...{ pty, portForwarding, agentForwarding, x11Forwarding },
        ...(sourceAddress ? { sourceAddress } : {}),
        ...(forceCommand ? { forceCommand } : {}),
      },
    }
  }
  if (rest.kind === 'names') {
    if (options !== undefined) throw invalid('options', 'names let nobody log in: they have no options')
    return { ...rest, ...ends, maxLifetime: maxLifetime ?? rest.maxLifetime }
  }
  if (maxLifetime !== undefined) throw invalid('maxLifetime', 'a role has no certificate that lives for so long')
  if (options !== undefined) throw invalid('options', 'a role lets nobody log in: it has no options')
  return { ...rest, ...ends }
}
