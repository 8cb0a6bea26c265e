import type { HostCaller } from '#server/identity/index.ts'
import type { Entry } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import type { hostStream } from '#shared/api/index.ts'
import type { JsonObject } from '#shared/canonical-json.ts'
import { invalid } from '#shared/errors.ts'
import { type HostName, isSubjectPrincipal, type SubjectPrincipal } from '#shared/names.ts'
import type { LoginReport, LoginsDeps } from './port.ts'
import { closeForgotten, closeLogin, insertLogins, type NewLogin, setTold, takeTold } from './records.ts'

type Opened = hostStream.LoginOpened
type At = { readonly requestId: string; readonly from: string }

/** What is known of a certificate that somebody came in by, beside what sshd said. */
type Known = {
  readonly label: string | undefined
  readonly subject: SubjectPrincipal | undefined
  /** Absent: of another authority. */
  readonly recorded: boolean | undefined
}

/** See `Logins.report`. */
export async function reportLogins(
  deps: LoginsDeps,
  caller: HostCaller,
  { record, events }: LoginReport,
  at: At,
): Promise<number> {
  const { store, ledger } = deps
  for (const [i, event] of events.entries())
    if (i > 0 && event.number !== (events[i - 1]?.number ?? 0) + 1)
      throw invalid(`events.${i}.number`, 'must be the one after the event before')
  deps.limiter.take(caller.name, events.length)
  const host = caller.name
  const known = new Map<number, Known>()
  await Promise.all(
    events.map(async event => {
      if (event.event === 'opened') known.set(event.number, await knownOf(deps, event))
    }),
  )

  const taken = await store.transaction({ name: 'host logins', deadlineMs: 10_000 }, async t => {
    const told = await takeTold(t, host)
    const isSame = told.record === record
    const fresh = events.filter(({ number }) => !isSame || number > told.number)
    const [first] = fresh
    const last = fresh.at(-1)
    if (!first || !last) return []
    // A record that was made anew begins with 1, one that was full has lost its oldest.
    const missing = first.number - (isSame ? told.number : 0) - 1
    if (!isSame) await closeForgotten(t, host, record, deps.now())
    const opened = fresh.flatMap(event => (event.event === 'opened' ? [rowOf({ host, record, event }, known)] : []))
    await insertLogins(t, opened)
    const rows = new Map(opened.map(row => [row.number, row]))
    const entries: Entry[] = []
    for (const [i, event] of fresh.entries()) {
      const row = rows.get(event.number)
      const said = row
        ? openedEntry(row)
        : event.event === 'closed'
          ? await closeIn(t, { host, record, event })
          : undefined
      // What came between is lost: the first says how much.
      const details = i === 0 && missing > 0 ? { ...said?.details, missing } : said?.details
      if (said && details) entries.push({ ...said, ...at, details })
    }
    await setTold(t, host, record, last.number)
    await ledger.appendIn(t, entries)
    return fresh
  })
  for (const event of taken)
    if (event.event === 'opened' && known.get(event.number)?.recorded === false) ring(deps, caller, event)
  return Math.max(...events.map(({ number }) => number))
}

type Told<Event> = {
  readonly host: HostName
  readonly record: string
  readonly event: Event
}
type Said = Omit<Entry, 'requestId' | 'from'>

function rowOf({ host, record, event }: Told<Opened>, knownOf: ReadonlyMap<number, Known>): NewLogin {
  const { number, login, address, port, by } = event
  const known = knownOf.get(number)
  return {
    ...{ host, record, number, login, method: by.method, address, port },
    key: 'key' in by ? by.key : null,
    keyId: by.method === 'certificate' ? (by.keyId ?? null) : null,
    serial: by.method === 'certificate' ? by.serial : null,
    authority: by.method === 'certificate' ? (known?.label ?? by.authority) : null,
    subject: known?.subject ?? null,
    recorded: known?.recorded ?? null,
    openedAt: new Date(event.at),
  }
}

function openedEntry({ host, number, login, address, port, method, ...row }: NewLogin): Said {
  return {
    kind: 'host-login',
    actor: { kind: 'host', name: host },
    ...(row.subject === null ? {} : { target: row.subject }),
    details: {
      ...{ number, login, at: row.openedAt.toISOString(), address, port, method },
      ...named({ key: row.key, keyId: row.keyId, serial: row.serial, authority: row.authority }),
      ...(row.recorded === null ? {} : { recorded: row.recorded }),
    },
  }
}

async function closeIn(
  t: Queryable,
  { host, record, event }: Told<Extract<hostStream.LoginEvent, { event: 'closed' }>>,
): Promise<Said> {
  const { number, opened, order } = event
  const closed = await closeLogin(
    t,
    { host, record, number: opened },
    { at: new Date(event.at), endedBy: order ?? null },
  )
  const seconds = closed && Math.max(0, Math.round((Date.parse(event.at) - closed.openedAt.getTime()) / 1000))
  return {
    kind: 'host-logout',
    actor: { kind: 'host', name: host },
    ...(closed?.subject ? { target: closed.subject } : {}),
    details: {
      ...{ number, opened, at: event.at },
      ...(closed && seconds !== undefined ? { login: closed.login, seconds } : {}),
      ...(order === undefined ? {} : { order }),
    },
  }
}

const named = (members: Readonly<Record<string, string | null>>): JsonObject =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null))

/** The record stands before the signature, so that whoever comes in by a certificate of ours has one here. */
async function knownOf({ store, ledger, authorityOf }: LoginsDeps, { by }: Opened): Promise<Known> {
  const label = by.method === 'certificate' ? authorityOf(by.authority) : undefined
  if (by.method !== 'certificate' || label === undefined) return { label, subject: undefined, recorded: undefined }
  const serial = BigInt(by.serial)
  const found = serial < 2n ** 63n ? await ledger.certificate(store, { authority: label, serial }) : undefined
  const recorded = found !== undefined && found.keyId === by.keyId && found.subjectKey === by.key
  return { label, subject: subjectOf(by.keyId), recorded }
}

/** A key ID of ours is `WHO/HOW/SESSION`. */
function subjectOf(keyId: string | undefined): SubjectPrincipal | undefined {
  const who = keyId?.split('/').slice(0, -2).join('/') ?? ''
  return isSubjectPrincipal(who) ? who : undefined
}

function ring({ alarm, alarmLimiter }: LoginsDeps, caller: HostCaller, { login, address, by }: Opened): void {
  if (by.method !== 'certificate') return
  try {
    alarmLimiter.take(caller.name)
  } catch {
    return
  }
  alarm(
    `ALARM: ${caller.name} let somebody in as ${login} from ${address} by a certificate that this log has no record of (serial ${by.serial}, key ID ${by.keyId ?? 'none of ours'}): somebody else may sign with the authority's key`,
  )
}
