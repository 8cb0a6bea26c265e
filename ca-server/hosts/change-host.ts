import { type By, listed } from '#server/access/index.ts'
import { type Queryable, StoreError } from '#server/store/index.ts'
import type { Line } from '#shared/api/index.ts'
import { canonicalJson } from '#shared/canonical-json.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { labelsText } from '#shared/grant-text.ts'
import { type HostName, isSubjectPrincipal, type Labels, parseHostName, type SubjectPrincipal } from '#shared/names.ts'
import { changedNameFacts, hostFact, isNameTaken } from './facts.ts'
import { assertStillIn, checkSuffix, noSuchHost, removedMeanwhile, taken } from './name-host.ts'
import type { DecidedIn, HostChange, HostsDeps, HostView, NewHost } from './port.ts'
import { bumpChange, type HostRow, selectByName, selectTaken, updateHost, viewOf } from './records.ts'
import { hostSubject } from './snapshot.ts'

type Deps = Pick<HostsDeps, 'ledger' | 'hostSuffixes' | 'principalsFor' | 'assertFits' | 'assertIsThere'>

/** Changes a host. See the door. */
export async function changeHost(
  deps: HostsDeps,
  name: HostName,
  change: HostChange,
  by: By,
  from?: DecidedIn,
): Promise<{ host: HostView; outside: SubjectPrincipal[]; namesGoodUntil: Date | undefined }> {
  await deps.ledger.follow()
  try {
    return await changeIn(deps, name, change, by, from)
  } catch (error) {
    if (!(error instanceof StoreError) || error.kind !== 'foreign-key' || !change.in) throw error
    throw removedMeanwhile(change.in)
  }
}

function changeIn(
  deps: HostsDeps,
  name: HostName,
  change: HostChange,
  by: By,
  from: DecidedIn | undefined,
): ReturnType<typeof changeHost> {
  // What is being issued to this host for a name that it loses is found by the revocation, or is refused (invariant 2).
  return deps.act(by, { name: 'host change', changes: [hostSubject(name)] }, async t => {
    // One change of hosts after the other from here on: what is read now is what is changed.
    await bumpChange(t)
    const { row, before, after } = await plan(deps, t, name, change)
    assertStillIn(from, row)
    await updateHost(t, row.id, after)
    const lost = before.aliases.filter(alias => !after.aliases.includes(alias))
    const added = after.aliases.filter(alias => !before.aliases.includes(alias))
    // One that carries a name which may be another host's at once.
    const namesGoodUntil = lost.length > 0 ? (await deps.revokeHostIn(t, name, by)).goodUntil : undefined
    await deps.ledger.appendIn(t, [
      {
        ...by,
        kind: 'host-changed',
        target: name,
        decision: 'allow',
        details: { before: settings(before), after: settings(after) },
        facts: [hostFact({ ...row, ...after }), ...changedNameFacts(deps.ledger.facts, row.id, { added, lost })],
      },
    ])
    const { gone } = difference(deps, before, after)
    return {
      host: viewOf({ ...row, ...after }, deps.now()),
      outside: [...new Set(gone.map(whoseEntry))],
      namesGoodUntil,
    }
  })
}

/** What somebody who touches a passkey for it is shown: what is, what will be, and who gets in by it, or no more. */
export async function changeInWords(deps: Deps, on: Queryable, name: HostName, change: HostChange): Promise<Line[]> {
  const { row, before, after } = await plan(deps, on, name, change)
  const [was, is] = [settings(before), settings(after)]
  const { gained, gone, still, otherwise } = difference(deps, before, after)
  const lines: (readonly [string, string | undefined])[] = [
    ['Host', name],
    ['Known here as', row.id],
    ...WORDS.flatMap(([field, word]): [string, string][] =>
      was[field] === is[field]
        ? []
        : [
            [`${word}, now`, was[field]],
            [`${word}, then`, is[field]],
          ],
    ),
    ['Get in still', listed(still)],
    ['Get in then', listed(gained)],
    ['Get in no more', listed(gone)],
    ['Get in by other rules', listed(otherwise)],
  ]
  return lines.flatMap(([name, value]) => (value === undefined || value === '' ? [] : [{ name, value }]))
}

/** Who gets in by what is granted already, for whoever is to touch a passkey for a new host: by its labels and place, or by its very name. */
export function addInWords(
  { principalsFor }: Pick<Deps, 'principalsFor'>,
  { name, labels, in: place }: NewHost,
): Line[] {
  const getIn = [...entries(principalsFor({ name: parseHostName(name, 'name'), labels, place })).keys()]
  return [{ name: 'Get in there', value: listed(getIn) || 'nobody yet' }]
}

type Changeable = Pick<HostRow, 'name' | 'labels' | 'place' | 'aliases' | 'address' | 'port'>

const WORDS = [
  ['labels', 'Labels'],
  ['place', 'In'],
  ['aliases', 'Also called'],
  ['address', 'Reached at'],
  ['port', 'Port'],
] as const

const settings = ({ labels, place, aliases, address, port }: Changeable) => ({
  place: place ?? 'no project',
  labels: labelsText(labels) || 'none',
  aliases: aliases.join(', ') || 'no other name',
  address: address ?? 'its name',
  port: String(port),
})

/** The host as the log says it is, and as it will be. Throws where a part of it cannot be: then nothing is changed. */
async function plan(
  deps: Deps,
  on: Queryable,
  name: HostName,
  change: HostChange,
): Promise<{ row: HostRow; before: Changeable; after: Changeable }> {
  const row = await selectByName(on, name)
  if (row?.name !== name) throw noSuchHost(name)
  if (!deps.ledger.facts.holds(hostFact(row)))
    throw new KeymanError('conflict', `what the database says of ${name} is not what the audit log says`, {
      hint: 'try again in a moment; if it stays so, somebody changed it: see the server log',
    })
  const add = (change.addAliases ?? []).map(alias => parseHostName(alias, 'addAliases'))
  const remove = (change.removeAliases ?? []).map(alias => parseHostName(alias, 'removeAliases'))
  for (const alias of add) checkSuffix('addAliases', alias, deps.hostSuffixes)
  const none = remove.find(alias => !row.aliases.includes(alias))
  if (none !== undefined) throw invalid('removeAliases', `${none} is no further name of ${name}`)
  if (new Set([name, ...row.aliases, ...add]).size <= row.aliases.length + add.length)
    throw invalid('addAliases', `a name is ${name}'s already, or stands there twice`)
  const after = {
    name,
    labels: changedLabels(row.labels, change.labels ?? {}, name),
    place: change.in === undefined ? row.place : (change.in ?? undefined),
    aliases: [...row.aliases.filter(alias => !remove.includes(alias)), ...add],
    address: change.address === undefined ? row.address : (change.address ?? undefined),
    port: change.port ?? row.port,
  }
  if (after.place !== undefined && after.place !== row.place) deps.assertIsThere(after.place)
  if (after.aliases.length > 16) throw invalid('addAliases', `${name} would have more than 16 further names`)
  if (canonicalJson(hostFact(row).is) === canonicalJson(hostFact({ ...row, ...after }).is))
    throw new KeymanError('conflict', `${name} is so already: nothing would change`)
  const held = await selectTaken(on, add)
  if (held) throw taken(held)
  // A host whose row is hidden has its name all the same.
  const hidden = add.find(alias => isNameTaken(deps.ledger.facts, alias))
  if (hidden !== undefined) throw taken({ name: hidden, host: hidden })
  deps.assertFits(after)
  return { row, before: row, after }
}

function changedLabels(labels: Labels, change: Readonly<Record<string, string | null>>, name: HostName) {
  const now: Record<string, string> = { ...labels }
  for (const [key, value] of Object.entries(change)) {
    if (value !== null) now[key] = value
    else if (Object.hasOwn(now, key)) delete now[key]
    else throw invalid('labels', `${name} has no label ${key}`)
  }
  if (Object.keys(now).length > 32) throw invalid('labels', `${name} would have more than 32 labels`)
  return now
}

/** Who gets in as whom, `alice@example.com as deploy`: by the new labels, no more, or by another line than before. */
function difference({ principalsFor }: Deps, before: Changeable, after: Changeable) {
  const [was, is] = [entries(principalsFor(before)), entries(principalsFor(after))]
  const names = (of: ReadonlyMap<string, string>, fits: (name: string) => boolean) => [...of.keys()].filter(fits)
  return {
    gained: names(is, name => !was.has(name)),
    gone: names(was, name => !is.has(name)),
    still: names(is, name => was.get(name) === is.get(name)),
    otherwise: names(is, name => was.has(name) && was.get(name) !== is.get(name)),
  }
}

const entries = (files: ReturnType<HostsDeps['principalsFor']>): Map<string, string> =>
  new Map(
    Object.entries(files).flatMap(([login, lines]) =>
      lines.map(line => [`${line.principal} as ${login}`, JSON.stringify(line)] as const),
    ),
  )

function whoseEntry(entry: string): SubjectPrincipal {
  const [principal = ''] = entry.split(' ')
  if (!isSubjectPrincipal(principal)) throw new TypeError(`${principal} is nobody`)
  return principal
}
