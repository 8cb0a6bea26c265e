import { MAX_PRINCIPALS, MAX_PRINCIPALS_BYTES } from '#shared/api/resources/host-stream.ts'
import { utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import type { HostName } from '#shared/names.ts'
import { grantsOn } from './choosing.ts'
import type { LoginGrant, SelectableHost } from './port.ts'
import { expand, line } from './principals.ts'
import { isLive, type Snapshot } from './snapshot.ts'

/** Pure: whether what hosts are to have goes into what one host can be told. Asked before a change, which is refused if not. */

/**
 * Throws `invalid-input` that names host, login and number. Everybody counts who is named, disabled or not yet enrolled too:
 * so nothing that happens to a person makes a host's files larger than they were when this was asked.
 */
export function assertFits(snapshot: Snapshot, hosts: Iterable<SelectableHost>, now: Date, field: string): void {
  const grants = snapshot.grants.filter(grant => isLive(grant, now))
  if (isSmall(snapshot, grants)) return
  const known = new Set<string>()
  for (const host of hosts) {
    const chosen = grantsOn(grants, host)
    const key = chosen.map(grant => grant.id).join()
    if (known.has(key)) continue
    known.add(key)
    check(snapshot, host.name, chosen, field)
  }
}

function check(snapshot: Snapshot, host: HostName, grants: readonly LoginGrant[], field: string): void {
  let bytes = 0
  for (const [login, of] of Map.groupBy(grants, grant => grant.login)) {
    const longest = new Map<string, number>()
    for (const grant of of) {
      const length = lengthOf(grant)
      for (const person of expand(snapshot, grant.who))
        longest.set(person, Math.max(longest.get(person) ?? 0, length + person.length))
    }
    if (longest.size > MAX_PRINCIPALS)
      throw refused(
        field,
        `${host} would let ${longest.size} persons in as ${login}; it can be told of ${MAX_PRINCIPALS} for one login`,
      )
    for (const length of longest.values()) bytes += length
  }
  if (bytes > MAX_PRINCIPALS_BYTES)
    throw refused(field, `${host} would be told ${bytes} bytes of who may log in; it takes ${MAX_PRINCIPALS_BYTES}`)
}

/** What could not be too much if every grant were for everybody on one host: nearly always, and found out at once. */
function isSmall(snapshot: Snapshot, grants: readonly LoginGrant[]): boolean {
  const named = new Set<string>(grants.flatMap(grant => expand(snapshot, grant.who)))
  const longest = Math.max(0, ...grants.map(lengthOf)) + 128
  const logins = new Set(grants.map(grant => grant.login)).size
  return named.size <= MAX_PRINCIPALS && named.size * longest * logins <= MAX_PRINCIPALS_BYTES
}

/** Of a line without its principal, as JSON in UTF-8. */
const lengthOf = (grant: LoginGrant): number => utf8(JSON.stringify(line('', grant))).length + 1

const refused = (field: string, message: string): KeymanError =>
  new KeymanError('invalid-input', message, {
    fields: [{ field, message }],
    hint: 'give the login to fewer persons, or split them over several logins or hosts',
  })
