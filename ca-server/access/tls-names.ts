import { PROFILE_TEXT } from '#shared/grant-text.ts'
import { isWithin, type Place, printable } from '#shared/names.ts'
import { covers, isTlsName, isWildcard, refusal, type TlsName, tlsNameText } from '#shared/tls-names/index.ts'
import { deny, describe } from './describe.ts'
import type { Decision, NamesGrant, TlsCertificateAction, TlsCertificateLimits, TlsProfile } from './port.ts'
import { epochsOf, grantsTo, type Holder, isLive, type Snapshot } from './snapshot.ts'

/**
 * Pure: whether somebody's grants give a TLS certificate. Each of its names is given by a grant of its own, all for the profile that
 * is asked for; what the certificate may be is what all of these grants let it be.
 */
export function tlsCertificate(
  snapshot: Snapshot,
  now: Date,
  holder: Holder,
  action: TlsCertificateAction,
): Decision<TlsCertificateLimits> {
  const { profile, lifetime: asked } = action
  if (asked !== undefined && !(Number.isSafeInteger(asked) && asked > 0))
    return deny('a lifetime must be a whole number of seconds above 0')
  if (!Object.hasOwn(GIVES, profile)) return deny('this profile of certificates is not known')
  const names = [...new Map(action.names.map(name => [JSON.stringify(name), name])).values()]
  if (names.length === 0) return deny('a certificate must have a name')
  // Read at the border by whoever calls: what is in another spelling than its one is not compared at all.
  const unread = names.find(name => !isTlsName(name))
  if (unread) return deny(`${printable(tlsNameText(unread))} is no name as a certificate has it`)
  const grants = grantsTo(snapshot.namesTo, holder)
  const found = names.map(name => ({ name, by: longest(name, grants, now, action) }))
  const given = found.flatMap(({ name, by }) => (by ? [{ name, by }] : []))
  const [first] = given
  if (!first || given.length < found.length) {
    const refused = found.flatMap(({ name, by }) => (by ? [] : [name]))
    return {
      allow: false,
      // Names that are refused for the same share a reason: a hundred of them must not say all patterns a hundred times.
      reasons: [...Map.groupBy(refused, name => whyNot(name, grants, now, action))].map(
        ([why, of]) =>
          `the ${of.length === 1 ? 'name' : 'names'} ${listed(of)} ${of.length === 1 ? 'is' : 'are'} ${why}`,
      ),
      message: `no grant gives you a ${PROFILE_TEXT[profile]} certificate for ${listed(refused)}`,
    }
  }
  const shortest = given.map(({ by }) => by).reduce((a, b) => (isLonger(a, b, now) ? b : a), first.by)
  const narrowed = asked !== undefined && asked < lasts(shortest, now)
  const ends = given.flatMap(({ by }) => (by.endsAt === undefined ? [] : [Date.parse(by.endsAt)]))
  return {
    allow: true,
    limits: {
      profile,
      names: given.map(({ name, by }) => ({ name, grant: by.id, via: by.who })),
      maxLifetime: narrowed ? asked : lasts(shortest, now),
      ...(narrowed ? {} : { limitedBy: describe(shortest) }),
      ...(ends.length === 0 ? {} : { endsAt: new Date(Math.min(...ends)) }),
    },
    epochs: epochsOf(holder),
  }
}

const listed = (names: readonly TlsName[]): string => names.map(tlsNameText).join(', ')

type Asked = { readonly profile: TlsProfile; readonly in?: Place | undefined }

/** What a grant for this profile lets a certificate be for. Two grants, one for servers and one for clients, are none for both. */
const GIVES: Readonly<Record<TlsProfile, readonly TlsProfile[]>> = {
  server: ['server'],
  client: ['client'],
  both: ['server', 'client', 'both'],
}

/** Seconds, from now on. */
const lasts = ({ maxLifetime, endsAt }: NamesGrant, now: Date): number =>
  endsAt === undefined ? maxLifetime : Math.min(maxLifetime, Math.floor((Date.parse(endsAt) - now.getTime()) / 1000))

/** Of two that last the same always the same one, in whatever order they come. */
const isLonger = (a: NamesGrant, b: NamesGrant, now: Date): boolean =>
  lasts(a, now) > lasts(b, now) || (lasts(a, now) === lasts(b, now) && a.id < b.id)

/** The grant by which a certificate with this name lasts longest: so a further grant never makes one shorter. */
function longest(name: TlsName, grants: readonly NamesGrant[], now: Date, asked: Asked): NamesGrant | undefined {
  const giving = grants.filter(grant => isCovered(name, grant) && obstacle(name, grant, now, asked) === undefined)
  const [first] = giving
  return first && giving.reduce((a, b) => (isLonger(b, a, now) ? b : a), first)
}

const isCovered = (name: TlsName, grant: NamesGrant): boolean => grant.names.some(pattern => covers(pattern, name))

/** Why a grant whose patterns cover this name does not give it, as the end of a sentence; `undefined` where it does. */
function obstacle(name: TlsName, grant: NamesGrant, now: Date, asked: Asked): string | undefined {
  if (!isLive(grant, now)) return `has ended, ${grant.endsAt}`
  if (lasts(grant, now) < 1) return 'ends within this second'
  if (!GIVES[grant.profile].includes(asked.profile)) return `is for ${PROFILE_TEXT[grant.profile]} certificates`
  if (grant.in !== undefined && !(asked.in !== undefined && isWithin(asked.in, grant.in)))
    return `holds in ${grant.in} alone`
  return isWildcard(name) && !grant.wildcards ? 'gives no wildcard' : undefined
}

const SHOWN = 8

function whyNot(name: TlsName, grants: readonly NamesGrant[], now: Date, asked: Asked): string {
  const by = (grant: NamesGrant): string => `the grant ${grant.id}`
  const covering = grants.filter(grant => isCovered(name, grant))
  const live = grants.filter(grant => isLive(grant, now)).map(grant => ({ by: by(grant), patterns: grant.names }))
  const uncovered = covering.length === 0 ? refusal(name, live) : undefined
  if (uncovered !== undefined) return uncovered
  const obstacles = covering.slice(0, SHOWN).map(grant => `${by(grant)} ${obstacle(name, grant, now, asked)}`)
  return `covered, but not given: ${obstacles.join('; ')}`
}
