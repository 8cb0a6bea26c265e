import { and, asc, eq, gt, isNotNull, isNull, lt, lte, or, type SQL, sql } from 'drizzle-orm'
import { builder, eachRow, type Queryable, recordset, rows, run } from '#server/store/index.ts'
import type { LoginKeyType } from '#shared/login-key-types.ts'
import type { HostName, SubjectPrincipal } from '#shared/names.ts'
import type { InForce } from './in-force.ts'
import type { Finding, HostView, NewHost } from './port.ts'
import { host, hostChange, joinToken } from './tables.ts'

/** The rows of this room. Every statement that takes something away runs in a transaction which has bumped epochs first. */

const toHost = (row: typeof host.$inferSelect) => ({
  id: row.id,
  name: row.name,
  aliases: row.aliases,
  labels: row.labels,
  place: row.place ?? undefined,
  port: row.port,
  address: row.address ?? undefined,
  // By the key, which the log vouches for.
  joined: row.clientSpki !== null,
  clientSpki: row.clientSpki ?? undefined,
  revision: row.revision,
  contentHash: row.contentHash ?? undefined,
  krlVersion: row.krlVersion,
  inForce: row.inForce,
  inForceKrl: row.inForceKrl,
  inForceSeal: row.inForceSeal ?? undefined,
  inForceHash: row.inForceHash ?? undefined,
  connected: row.connected,
  lastSeenAt: row.lastSeenAt ?? undefined,
  message: row.message ?? undefined,
  failedRevision: row.failedRevision ?? undefined,
  agent: row.agentVersion ?? undefined,
  sshd: row.sshdVersion ?? undefined,
  findings: row.findings ?? [],
  seesLogins: row.seesLogins,
})
export type HostRow = ReturnType<typeof toHost>

const isLiving = isNull(host.removedAt)
const living = (where?: SQL) => builder.select().from(host).where(and(isLiving, where))

/** A row that does not fit is no host: it must not keep the others from being read. */
export const selectLiving = async (q: Queryable): Promise<HostRow[]> =>
  (await eachRow(q, living().orderBy(asc(host.name)))).flatMap(({ row }) => (row ? [toHost(row)] : []))

export const selectLivingNames = async (q: Queryable): Promise<HostName[]> =>
  (await eachRow(q, builder.select({ name: host.name }).from(host).where(isLiving))).flatMap(({ row }) =>
    row ? [row.name] : [],
  )

/** In the order of their IDs, those too that do not fit. */
export const selectLivingPage = async (
  q: Queryable,
  { after, limit }: { readonly after: string; readonly limit: number },
): Promise<{ readonly id: string; readonly host: HostRow | undefined }[]> =>
  (await eachRow(q, living(gt(host.id, after)).orderBy(asc(host.id)).limit(limit))).map(({ row, fits }) => ({
    id: fits.id ?? '',
    host: row && toHost(row),
  }))

export async function selectByName(q: Queryable, name: HostName): Promise<HostRow | undefined> {
  const [row] = await rows(q, living(eq(host.name, name)))
  return row && toHost(row)
}

/** Which of these a living host has already, as its name or as an alias, and which host. */
export async function selectTaken(
  t: Queryable,
  names: readonly HostName[],
): Promise<{ name: string; host: string } | undefined> {
  const wanted = recordset(
    'wanted',
    { name: host.name },
    names.map(name => ({ name })),
  )
  const { name } = wanted.fields
  const [row] = await rows(
    t,
    builder
      .select({ name, host: host.name })
      .from(wanted.from)
      .innerJoin(host, and(isLiving, or(eq(host.name, name), sql`${host.aliases} ? ${name}`)))
      .limit(1),
  )
  return row
}

/** Of these hosts, those that say which types of keys they take alone. */
export async function selectKeyTypes(
  q: Queryable,
  names: readonly HostName[],
): Promise<Map<string, readonly LoginKeyType[]>> {
  if (names.length === 0) return new Map()
  const wanted = recordset(
    'wanted',
    { name: host.name },
    names.map(name => ({ name })),
  )
  const found = await eachRow(
    q,
    builder
      .select({ name: host.name, findings: host.findings })
      .from(wanted.from)
      .innerJoin(host, and(isLiving, eq(host.name, wanted.fields.name), sql`${host.findings} @? '$[*].keyTypes'`)),
  )
  return new Map(
    found.flatMap(({ row }) =>
      (row?.findings ?? []).flatMap(({ keyTypes }) => (row && keyTypes ? [[row.name, keyTypes] as const] : [])),
    ),
  )
}

/** Revisions of one name go forward over removal and a new start, since an old agent's memory may still be there. */
export async function insertHost(
  t: Queryable,
  id: string,
  added: NewHost & { name: HostName; aliases: readonly HostName[] },
  at: Date,
): Promise<void> {
  const { name, labels, in: place = null, port, address = null } = added
  const revision = sql`coalesce((select max(${host.revision}) from ${host} where ${eq(host.name, name)}), 0)`
  await run(
    t,
    builder
      .insert(host)
      .values({ id, name, aliases: [...added.aliases], labels, place, port, address, createdAt: at, revision }),
  )
}

export async function updateHost(
  t: Queryable,
  id: string,
  { labels, place, aliases, address, port }: Pick<HostRow, 'labels' | 'place' | 'aliases' | 'address' | 'port'>,
): Promise<void> {
  const changed = builder
    .update(host)
    .set({ labels: { ...labels }, place: place ?? null, aliases: [...aliases], address: address ?? null, port })
  await run(t, changed.where(and(eq(host.id, id), isLiving)))
}

/** `host`: its ID. `maker`: the person or workload that added it, where it was one and the token says so. */
export type TokenRow = {
  readonly hash: Uint8Array
  readonly host: string
  readonly endsAt: Date
  readonly used: boolean
  readonly maker: SubjectPrincipal | undefined
}
const toToken = ({ hash, host, endsAt, usedAt, madeBy }: typeof joinToken.$inferSelect): TokenRow => ({
  hash,
  host,
  endsAt,
  used: usedAt !== null,
  maker: madeBy ?? undefined,
})

export async function insertToken(t: Queryable, token: Omit<TokenRow, 'used'> & { readonly at: Date }): Promise<void> {
  const { hash, host, at, endsAt, maker } = token
  await run(t, builder.insert(joinToken).values({ hash, host, createdAt: at, endsAt, madeBy: maker ?? null }))
}

/** What a token is for, used or not; `undefined` for one that was never given or whose host was removed. */
export async function selectToken(
  q: Queryable,
  hash: Uint8Array,
): Promise<(Omit<TokenRow, 'host'> & { readonly host: HostRow }) | undefined> {
  const [token] = await rows(q, builder.select().from(joinToken).where(eq(joinToken.hash, hash)))
  if (token === undefined) return undefined
  const [row] = await rows(q, living(eq(host.id, token.host)))
  return row && { ...toToken(token), host: toHost(row) }
}

/** Of the hosts with these IDs. */
export async function selectTokensOf(q: Queryable, ids: readonly string[]): Promise<TokenRow[]> {
  if (ids.length === 0) return []
  const wanted = recordset(
    'wanted',
    { host: joinToken.host },
    ids.map(host => ({ host })),
  )
  const isWanted = sql`${joinToken.host} in (select ${wanted.fields.host} from ${wanted.from})`
  return (await eachRow(q, builder.select().from(joinToken).where(isWanted))).flatMap(({ row }) =>
    row ? [toToken(row)] : [],
  )
}

const isUnused = isNull(joinToken.usedAt)

/** Whatever token nobody has used yet. */
export const endTokensIn = (t: Queryable, at: Date): Promise<number> =>
  run(t, builder.update(joinToken).set({ usedAt: at }).where(isUnused))

/** Uses a token up, once: `false` where somebody was faster. */
export async function useToken(t: Queryable, hash: Uint8Array, at: Date): Promise<boolean> {
  const isOpen = and(eq(joinToken.hash, hash), isUnused, gt(joinToken.endsAt, at))
  return (await run(t, builder.update(joinToken).set({ usedAt: at }).where(isOpen))) === 1
}

/** Binds the host to its client key: `false` where it has joined or was removed. */
export async function setJoined(t: Queryable, id: string, clientSpki: Uint8Array, at: Date): Promise<boolean> {
  const isInvited = and(eq(host.id, id), isNull(host.joinedAt), isLiving)
  return (await run(t, builder.update(host).set({ joinedAt: at, clientSpki }).where(isInvited))) === 1
}

export async function setRemoved(t: Queryable, id: string, at: Date): Promise<boolean> {
  const removed = builder
    .update(host)
    .set({ removedAt: at, connected: false, place: null })
    .where(and(eq(host.id, id), isLiving))
  return (await run(t, removed)) === 1
}

export async function bumpChange(t: Queryable): Promise<void> {
  await run(t, builder.update(hostChange).set({ version: sql`${hostChange.version} + 1` }))
}
export async function selectChange(q: Queryable): Promise<bigint> {
  const [row] = await rows(q, builder.select({ version: hostChange.version }).from(hostChange))
  return row?.version ?? 0n
}

export type ContentToNumber = {
  readonly id: string
  readonly hash: Uint8Array
  readonly krlVersion: bigint
  /** What the host has in force: it is told of nothing else by this number. */
  readonly above: number
}

/**
 * The numbers of these contents, in their order: the present one where the content is the same and the host lacks it, else the next.
 * `undefined` where the host is gone, or a newer KRL was put into its state already (by a server that knows more).
 */
export async function numberContents(
  q: Queryable,
  contents: readonly ContentToNumber[],
): Promise<(number | undefined)[]> {
  const columns = { id: host.id, hash: host.contentHash, krlVersion: host.krlVersion, above: host.inForce }
  const { from, fields: content } = recordset('content', columns, contents)
  const numbered = await rows(
    q,
    builder
      .update(host)
      .set({
        revision: sql`case when ${host.contentHash} = ${content.hash} and ${host.revision} > ${content.above} then ${host.revision}
          else greatest(${host.revision}, ${content.above}) + 1 end`,
        contentHash: content.hash,
        krlVersion: content.krlVersion,
      })
      .from(from)
      .where(and(eq(host.id, content.id), isLiving, lte(host.krlVersion, content.krlVersion)))
      .returning({ id: host.id, revision: host.revision }),
  )
  const numbers = new Map(numbered.map(row => [row.id, row.revision]))
  return contents.map(({ id }) => numbers.get(id))
}

/** What a host said is in force. Without findings it has not looked, and what it found before stays. */
export type SaidInForce = InForce & { readonly findings: readonly Finding[] | undefined }

/** What hosts said is in force; one result an item. */
export async function setInForce(
  q: Queryable,
  hosts: readonly (SaidInForce & { readonly seal: Uint8Array })[],
  at: Date,
): Promise<true[]> {
  const { from, fields: said } = recordset(
    'said',
    {
      id: host.id,
      revision: host.inForce,
      krlVersion: host.inForceKrl,
      seal: host.inForceSeal,
      hash: host.inForceHash,
      findings: host.findings,
    },
    hosts.map(said => ({ ...said, hash: said.hash ?? null, findings: said.findings ? [...said.findings] : null })),
  )
  await run(
    q,
    builder
      .update(host)
      .set({
        inForce: said.revision,
        inForceKrl: said.krlVersion,
        inForceSeal: said.seal,
        inForceHash: said.hash,
        findings: sql`coalesce(${said.findings}, ${host.findings})`,
        message: null,
        failedRevision: null,
        connected: true,
        lastSeenAt: at,
      })
      .from(from)
      .where(and(eq(host.id, said.id), isLiving)),
  )
  return hosts.map(() => true)
}

/** Whether a joined host that was heard of since `since` still has an older KRL, and has not said that it failed with this one. */
export async function someoneLacks(q: Queryable, krlVersion: bigint, since: Date): Promise<boolean> {
  const isHeard = and(isLiving, isNotNull(host.joinedAt), eq(host.connected, true), gt(host.lastSeenAt, since))
  const hasNotFailed = or(isNull(host.failedRevision), lt(host.failedRevision, host.revision))
  const lacks = and(isHeard, lt(host.inForceKrl, krlVersion), or(lt(host.krlVersion, krlVersion), hasNotFailed))
  return (await rows(q, builder.select({ id: host.id }).from(host).where(lacks).limit(1))).length > 0
}

export async function setFailed(q: Queryable, id: string, revision: number, message: string, at: Date) {
  const said = { message, failedRevision: revision, lastSeenAt: at }
  await run(
    q,
    builder
      .update(host)
      .set(said)
      .where(and(eq(host.id, id), isLiving)),
  )
}

/** One stream of a host. `stream` is another for each that opens, on whichever server. */
export type HostStream = { readonly id: string; readonly stream: string }
export type OpenedStream = HostStream & {
  readonly agent: string
  readonly sshd: string
  readonly seesLogins: boolean
}

/** Streams that opened, in their order, with what the hosts said of themselves; one result an item. */
export async function setOpened(q: Queryable, opened: readonly OpenedStream[], at: Date): Promise<true[]> {
  // Of a host that opened two at once the later one counts.
  const newest = new Map(opened.map(stream => [stream.id, stream]))
  const columns = {
    ...{ id: host.id, stream: host.streamId, agent: host.agentVersion, sshd: host.sshdVersion },
    seesLogins: host.seesLogins,
  }
  const { from, fields: stream } = recordset('stream', columns, [...newest.values()])
  await run(
    q,
    builder
      .update(host)
      .set({
        connected: true,
        streamId: stream.stream,
        agentVersion: stream.agent,
        sshdVersion: stream.sshd,
        seesLogins: stream.seesLogins,
        lastSeenAt: at,
      })
      .from(from)
      .where(and(eq(host.id, stream.id), isLiving)),
  )
  return opened.map(() => true)
}

/**
 * Streams that are still there, or have closed; one result an item. Changes nothing of a host that has meanwhile opened
 * another, here or at another server: a dead stream is noticed late.
 */
export async function setConnected(
  q: Queryable,
  streams: readonly HostStream[],
  connected: boolean,
  at: Date,
): Promise<true[]> {
  const { from, fields: stream } = recordset('stream', { id: host.id, stream: host.streamId }, streams)
  await run(
    q,
    builder
      .update(host)
      .set({ connected, lastSeenAt: at })
      .from(from)
      .where(and(eq(host.id, stream.id), eq(host.streamId, stream.stream), isLiving)),
  )
  return streams.map(() => true)
}

/** A server that was killed leaves its hosts marked as connected: after this long without a word they count as away. */
export const STALE_MS = 90_000
export const isConnected = (row: HostRow, now: Date): boolean =>
  row.connected && row.lastSeenAt !== undefined && now.getTime() - row.lastSeenAt.getTime() < STALE_MS

/** Has not come right since it said so. What was in force before may be so no more: somebody changed its files, say. */
export const isFailing = (row: HostRow): boolean =>
  row.failedRevision !== undefined && row.failedRevision >= row.inForce

export const viewOf = (row: HostRow, now: Date): HostView => ({
  name: row.name,
  ...(row.aliases.length > 0 ? { aliases: row.aliases } : {}),
  labels: row.labels,
  ...(row.place === undefined ? {} : { in: row.place }),
  port: row.port,
  ...(row.address === undefined ? {} : { address: row.address }),
  state: !row.joined ? 'invited' : !isConnected(row, now) ? 'away' : isFailing(row) ? 'failed' : 'connected',
  revision: row.revision,
  inForce: row.inForce,
  ...(row.lastSeenAt === undefined ? {} : { lastSeenAt: row.lastSeenAt.toISOString() }),
  ...(row.message === undefined ? {} : { message: row.message }),
  ...(row.agent === undefined ? {} : { agent: row.agent }),
  ...(row.sshd === undefined ? {} : { sshd: row.sshd }),
  findings: row.findings,
  seesLogins: row.seesLogins,
})
