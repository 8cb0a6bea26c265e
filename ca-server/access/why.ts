import { KeymanError } from '#shared/errors.ts'
import type { HostName, SubjectPrincipal } from '#shared/names.ts'
import { tlsNameText } from '#shared/tls-names/index.ts'
import { decide, holderOf } from './decide.ts'
import type { SelectableHost, TlsCertificateAction, Want, Why } from './port.ts'
import { rolesOf, rolesThatGive, roleText } from './roles.ts'
import { type Snapshot, subjectNamed } from './snapshot.ts'

/** Pure: what `decide` says, in words, for whoever may hear it. */

type Question = {
  readonly asker: SubjectPrincipal
  readonly person: SubjectPrincipal
  readonly name: HostName
  readonly host: SelectableHost | undefined
}

/**
 * Of somebody else only for whoever may ask for that; and reasons, which name what others have, are for them too (invariant 3). So is
 * the difference between a host that is not there and one that nobody gave.
 */
export function why(snapshot: Snapshot, now: Date, { asker, person, name, host }: Question): Why {
  const looks = mayExplain(snapshot, now, { asker, person })
  const asked = host ?? { name, labels: {} }
  const decision = decide(snapshot, now, subjectNamed(person), { kind: 'ssh-login', host: asked })
  if (!host && (looks || decision.allow))
    throw new KeymanError('not-found', `there is no host ${name}`, {
      hint: 'see `keyman status` for the hosts that you may log in to',
    })
  const about = { host: name, person }
  if (decision.allow) return { ...about, allowed: [...decision.limits.logins], reasons: [] }
  return { ...about, allowed: [], reasons: looks ? [...decision.reasons] : [decision.message] }
}

/** The same of what takes a role. */
export function whyDo(
  snapshot: Snapshot,
  now: Date,
  {
    asker,
    person,
    want,
  }: {
    readonly asker: SubjectPrincipal
    readonly person: SubjectPrincipal
    readonly want: Want
  },
) {
  mayExplain(snapshot, now, { asker, person })
  const decision = decide(snapshot, now, subjectNamed(person), { kind: 'do', wants: [want] })
  if (!decision.allow) return { action: want.action, allowed: false, roles: [], reasons: [...decision.reasons] }
  const known = holderOf(snapshot, subjectNamed(person))
  const roles = 'allow' in known ? [] : rolesThatGive(rolesOf(snapshot, known, now), want).map(roleText)
  return { action: want.action, allowed: true, roles, reasons: [] }
}

/** The same of a TLS certificate: by which grant each of its names is given, for how long, and which of them made it no longer. */
export function whyNames(
  snapshot: Snapshot,
  now: Date,
  {
    asker,
    person,
    action,
  }: {
    readonly asker: SubjectPrincipal
    readonly person: SubjectPrincipal
    readonly action: TlsCertificateAction
  },
) {
  const looks = mayExplain(snapshot, now, { asker, person })
  const decision = decide(snapshot, now, subjectNamed(person), action)
  if (!decision.allow)
    return { allowed: false, names: [], reasons: looks ? [...decision.reasons] : [decision.message] } as const
  const { names, maxLifetime, limitedBy } = decision.limits
  return {
    allowed: true,
    names: names.map(({ name, grant, via }) => `${tlsNameText(name)} by ${grant} to ${via}`),
    maxLifetime,
    limitedBy: limitedBy ?? 'what was asked for',
    reasons: [],
  } as const
}

/** Whether who asks may hear all of it. Throws `denied` where it is about somebody else, and they may not. */
function mayExplain(
  snapshot: Snapshot,
  now: Date,
  { asker, person }: { readonly asker: SubjectPrincipal; readonly person: SubjectPrincipal },
): boolean {
  const wants = [{ action: 'access.explain' } as const]
  const decision = decide(snapshot, now, subjectNamed(asker), { kind: 'do', wants })
  if (person !== asker && !decision.allow) throw new KeymanError('denied', decision.message)
  return decision.allow
}
