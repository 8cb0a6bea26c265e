import { createHash } from 'node:crypto'
import type { By } from '#server/access/index.ts'
import { makerOf } from '#server/identity/index.ts'
import { type Queryable, StoreError } from '#server/store/index.ts'
import { toBase64Url } from '#shared/bytes.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { formatJoinToken } from '#shared/join-token.ts'
import { type HostName, type Place, parseHostName } from '#shared/names.ts'
import { goneHost, hostFact, hostId, hostNameFacts, idOfName, isNameTaken, tokenFact } from './facts.ts'
import type { DecidedIn, HostsDeps, HostView, NewHost } from './port.ts'
import {
  bumpChange,
  type HostRow,
  insertHost,
  insertToken,
  selectByName,
  selectTaken,
  setRemoved,
  viewOf,
} from './records.ts'
import { hostSubject } from './snapshot.ts'
import { vouchedHost } from './vouched.ts'

/** Only the secret's SHA-256 is kept: 256 random bits need no slower hash. */
export const hashOf = (secret: string): Uint8Array =>
  new Uint8Array(createHash('sha256').update(`keyman-join-v1\n${secret}`).digest())

/** What is to be added; throws where it can't be. */
function newHostOf(deps: Pick<HostsDeps, 'hostSuffixes' | 'assertIsThere' | 'assertFits'>, input: NewHost) {
  const name = parseHostName(input.name, 'name')
  checkSuffix('name', name, deps.hostSuffixes)
  const aliases = (input.aliases ?? []).map(alias => parseHostName(alias, 'aliases'))
  for (const alias of aliases) checkSuffix('aliases', alias, deps.hostSuffixes)
  if (new Set([name, ...aliases]).size <= aliases.length) throw invalid('aliases', 'a name stands there twice')
  const host = { ...input, name, aliases, place: input.in }
  if (host.place !== undefined) deps.assertIsThere(host.place)
  deps.assertFits(host)
  return host
}

/** Throws `conflict` where a living host has one of these names, whatever the database shows. */
async function assertFree({ ledger }: Pick<HostsDeps, 'ledger'>, on: Queryable, names: readonly HostName[]) {
  const held = await selectTaken(on, names)
  if (held) throw taken(held)
  const hidden = names.find(each => isNameTaken(ledger.facts, each))
  if (hidden !== undefined) throw taken({ name: hidden, host: hidden })
}

/** Nobody is asked to touch a passkey for what would be refused: throws as `addHost` does, for whoever looks before. */
export async function assertMayBeAdded(
  deps: Pick<HostsDeps, 'hostSuffixes' | 'assertIsThere' | 'assertFits' | 'ledger'>,
  on: Queryable,
  input: NewHost,
): Promise<void> {
  const { name, aliases } = newHostOf(deps, input)
  await assertFree(deps, on, [name, ...aliases])
}

/** Names a host and makes its join token. See the door. */
export async function addHost(deps: HostsDeps, input: NewHost, by: By) {
  const host = newHostOf(deps, input)
  const { name, aliases } = host
  const at = deps.now()
  const endsAt = new Date(at.getTime() + host.tokenLifetime * 1000)
  const id = `host_${toBase64Url(deps.random(16))}`
  const secret = toBase64Url(deps.random(32))
  const token = { hash: hashOf(secret), host: id, endsAt, maker: makerOf(by) }
  try {
    await deps.ledger.follow()
    await deps.act(by, { name: 'host add' }, async t => {
      // One host is added after the other from here on, so that no two take one name, whichever of them has it as an alias.
      await bumpChange(t)
      await assertFree(deps, t, [name, ...aliases])
      await insertHost(t, id, host, at)
      await insertToken(t, { ...token, at })
      const details = {
        ...(aliases.length > 0 ? { aliases: [...aliases] } : {}),
        labels: { ...host.labels },
        ...(host.place === undefined ? {} : { in: host.place }),
        port: host.port,
        tokenEndsAt: endsAt.toISOString(),
      }
      await deps.ledger.appendIn(t, [
        {
          ...by,
          kind: 'host-added',
          target: name,
          decision: 'allow',
          details,
          facts: [hostFact({ ...host, id }), ...hostNameFacts({ id, name, aliases }), tokenFact(token)],
        },
      ])
    })
  } catch (error) {
    if (error instanceof StoreError && error.kind === 'foreign-key' && host.place !== undefined)
      throw removedMeanwhile(host.place)
    if (error instanceof StoreError && error.kind === 'unique') throw taken({ name, host: name })
    throw error
  }
  const row = await selectByName(deps.store, name)
  if (!row) throw new KeymanError('conflict', `${name} was removed again meanwhile`)
  const view: HostView = viewOf(row, deps.now())
  const text = formatJoinToken({ url: deps.machinesUrl, fingerprint: deps.rootFingerprint(), name, secret })
  return { host: view, token: text, endsAt, command: JOIN_COMMAND }
}

/** Everything that the host needs stands in the token, which goes in by standard input: so no data stands in the command. */
const JOIN_COMMAND = 'keyman-agent join --token-file -'

export const taken = ({ name, host }: { name: string; host: string }): KeymanError =>
  new KeymanError(
    'conflict',
    host === name ? `there is a host ${name} already` : `${name} is an alias of the host ${host} already`,
    {
      hint: `a living host's name is never given to a second: first keyman host ${host === name ? `remove ${host}` : `change ${host} --no-alias ${name}`}`,
    },
  )

export function checkSuffix(field: string, name: HostName, suffixes: readonly string[]): void {
  if (suffixes.some(suffix => name.endsWith(`.${suffix}`))) return
  throw invalid(
    field,
    `${name} does not end in a host suffix of this organisation (${suffixes.join(', ')})`,
    'the suffixes stand in the server configuration as host_suffixes',
  )
}

export const removedMeanwhile = (place: Place): KeymanError =>
  new KeymanError('conflict', `${place} was removed at this moment`, { hint: 'see keyman project list' })

/** Whoever may do something in one place has not been asked for another. Locked by nothing: who moves a host changes its epoch first. */
export function assertStillIn(from: DecidedIn | undefined, row: Pick<HostRow, 'place'> | undefined): void {
  if (!from || !row || row.place === from.place) return
  throw new KeymanError('conflict', 'the host was moved to another project meanwhile', { hint: 'try again' })
}

/** Takes a host out. See the door. */
export async function removeHost(
  deps: HostsDeps,
  name: HostName,
  by: By,
  from?: DecidedIn,
): Promise<{ goodUntil: Date }> {
  // The one that counts: somebody may have put another of this name in its place.
  const [row] = await vouchedHost(deps, name)
  // One whose row is hidden goes by the log.
  const id = row?.id ?? idOfName(deps.ledger.facts, name)
  if (id === undefined) throw noSuchHost(name)
  // Invariant 2: what is being issued to this host ends before, and is then found; or is refused.
  return deps.act(by, { name: 'host remove', changes: [hostSubject(name)] }, async t => {
    if (row) assertStillIn(from, await selectByName(t, name))
    // By the log: a trigger may keep the row as it is, which counts for nothing from now on.
    if (!(await setRemoved(t, id, deps.now())) && !deps.ledger.facts.has(hostId(id))) throw noSuchHost(name)
    // Before anything is recorded: who adds a host takes this row first and the log's head after it.
    await bumpChange(t)
    const { revoked, goodUntil } = await deps.revokeHostIn(t, name, by)
    await deps.ledger.appendIn(t, [
      {
        ...by,
        kind: 'host-removed',
        target: name,
        decision: 'allow',
        details: { revoked },
        facts: goneHost(deps.ledger.facts, id),
      },
    ])
    return { goodUntil }
  })
}

export const noSuchHost = (name: string): KeymanError =>
  new KeymanError('not-found', `there is no host ${name}`, { hint: 'keyman host list shows all hosts' })
