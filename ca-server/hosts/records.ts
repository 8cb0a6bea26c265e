import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { finding } from '#shared/api/fields.ts'
import { toHex } from '#shared/bytes.ts'
import { type HostName, isHostName, isPlace } from '#shared/names.ts'
import type { InForce } from './in-force.ts'
import type { Finding, HostView, NewHost } from './port.ts'

/** The rows of this room. Every statement that takes something away runs in a transaction which has bumped epochs first. */

const hostName = z.string().refine(isHostName)
const labels = z.record(z.string(), z.string())
/** Revisions are far below 2^53. */
const number = z.bigint().transform(Number)

export const hostRow = z
  .object({
    id: z.string(),
    name: hostName,
    aliases: z.array(hostName),
    labels,
    place: z.string().refine(isPlace).nullable(),
    port: z.number(),
    address: z.string().nullable(),
    client_spki: z.instanceof(Uint8Array).nullable(),
    revision: number,
    content_hash: z.instanceof(Uint8Array).nullable(),
    krl_version: z.bigint(),
    in_force: number,
    in_force_krl: z.bigint(),
    in_force_seal: z.instanceof(Uint8Array).nullable(),
    in_force_hash: z.instanceof(Uint8Array).nullable(),
    connected: z.boolean(),
    last_seen_at: z.date().nullable(),
    message: z.string().nullable(),
    failed_revision: number.nullable(),
    agent_version: z.string().nullable(),
    sshd_version: z.string().nullable(),
    // What nobody understands is nothing that is found: a row must not keep its host from being read.
    findings: z.array(finding).nullable().catch(null),
  })
  .transform(row => ({
    id: row.id,
    name: row.name,
    aliases: row.aliases,
    labels: row.labels,
    place: row.place ?? undefined,
    port: row.port,
    address: row.address ?? undefined,
    // By the key, which the log vouches for.
    joined: row.client_spki !== null,
    clientSpki: row.client_spki ?? undefined,
    revision: row.revision,
    contentHash: row.content_hash ?? undefined,
    krlVersion: row.krl_version,
    inForce: row.in_force,
    inForceKrl: row.in_force_krl,
    inForceSeal: row.in_force_seal ?? undefined,
    inForceHash: row.in_force_hash ?? undefined,
    connected: row.connected,
    lastSeenAt: row.last_seen_at ?? undefined,
    message: row.message ?? undefined,
    failedRevision: row.failed_revision ?? undefined,
    agent: row.agent_version ?? undefined,
    sshd: row.sshd_version ?? undefined,
    findings: row.findings ?? [],
  }))
export type HostRow = z.infer<typeof hostRow>

const COLUMNS = `id, name, aliases, labels, place, port, address, client_spki, revision, content_hash, krl_version, in_force,
  in_force_krl, in_force_seal, in_force_hash, connected, last_seen_at, message, failed_revision, agent_version, sshd_version, findings`

/** A row that does not fit is no host: it must not keep the others from being read. */
export const selectLiving = async (q: Queryable): Promise<HostRow[]> =>
  (
    await q.query(
      `select ${COLUMNS} from host where removed_at is null order by name`,
      [],
      hostRow.or(z.unknown().transform(() => [])),
    )
  ).flat()

/** In the order of their IDs, those too that do not fit. */
export const selectLivingPage = async (
  q: Queryable,
  { after, limit }: { readonly after: string; readonly limit: number },
): Promise<{ readonly id: string; readonly host: HostRow | undefined }[]> =>
  (
    await q.query(
      `select ${COLUMNS} from host where removed_at is null and id > $1 order by id limit $2::int`,
      [after, limit],
      z.looseObject({ id: z.string() }),
    )
  ).map(row => ({ id: row.id, host: hostRow.safeParse(row).data }))

export async function selectByName(q: Queryable, name: HostName): Promise<HostRow | undefined> {
  const [row] = await q.query(`select ${COLUMNS} from host where name = $1 and removed_at is null`, [name], hostRow)
  return row
}

/** Which of these a living host has already, as its name or as an alias, and which host. */
export async function selectTaken(
  t: Queryable,
  names: readonly HostName[],
): Promise<{ name: string; host: string } | undefined> {
  const [row] = await t.query(
    `select n.name, host.name as host from jsonb_array_elements_text($1::jsonb) as n (name)
     join host on host.removed_at is null and (host.name = n.name or host.aliases ? n.name) limit 1`,
    [JSON.stringify(names)],
    z.object({ name: z.string(), host: z.string() }),
  )
  return row
}

async function selectById(q: Queryable, id: string): Promise<HostRow | undefined> {
  const [row] = await q.query(`select ${COLUMNS} from host where id = $1 and removed_at is null`, [id], hostRow)
  return row
}

/** Revisions of one name go forward over removal and a new start, since an old agent's memory may still be there. */
export async function insertHost(
  t: Queryable,
  id: string,
  host: NewHost & { name: HostName; aliases: readonly HostName[] },
  at: Date,
): Promise<void> {
  await t.execute(
    `insert into host (id, name, labels, port, address, created_at, aliases, place, revision)
     values ($1, $2, $3::jsonb, $4, $5, $6::timestamptz, $7::jsonb, $8,
       coalesce((select max(revision) from host where name = $2), 0))`,
    [
      id,
      host.name,
      JSON.stringify(host.labels),
      host.port,
      host.address ?? null,
      at.toISOString(),
      JSON.stringify(host.aliases),
      host.in ?? null,
    ],
  )
}

export async function insertToken(
  t: Queryable,
  token: { hash: Uint8Array; host: string; at: Date; endsAt: Date },
): Promise<void> {
  await t.execute(
    'insert into join_token (hash, host, created_at, ends_at) values ($1, $2, $3::timestamptz, $4::timestamptz)',
    [token.hash, token.host, token.at.toISOString(), token.endsAt.toISOString()],
  )
}

/** What a token is for, used or not; `undefined` for one that was never given or whose host was removed. */
export async function selectToken(
  q: Queryable,
  hash: Uint8Array,
): Promise<{ host: HostRow; endsAt: Date; used: boolean } | undefined> {
  const [row] = await q.query(
    'select host, ends_at, used_at from join_token where hash = $1',
    [hash],
    z.object({ host: z.string(), ends_at: z.date(), used_at: z.date().nullable() }),
  )
  const host = row && (await selectById(q, row.host))
  return host && { host, endsAt: row.ends_at, used: row.used_at !== null }
}

/** Whatever token nobody has used yet. */
export const endTokensIn = (t: Queryable, at: Date): Promise<number> =>
  t.execute('update join_token set used_at = $1::timestamptz where used_at is null', [at.toISOString()])

/** Uses a token up, once: `false` where somebody was faster. */
export async function useToken(t: Queryable, hash: Uint8Array, at: Date): Promise<boolean> {
  const changed = await t.execute(
    `update join_token set used_at = $2::timestamptz where hash = $1 and used_at is null and ends_at > $2::timestamptz`,
    [hash, at.toISOString()],
  )
  return changed === 1
}

/** Binds the host to its client key: `false` where it has joined or was removed. */
export async function setJoined(t: Queryable, id: string, clientSpki: Uint8Array, at: Date): Promise<boolean> {
  const changed = await t.execute(
    `update host set joined_at = $3::timestamptz, client_spki = $2 where id = $1 and joined_at is null and removed_at is null`,
    [id, clientSpki, at.toISOString()],
  )
  return changed === 1
}

export async function setRemoved(t: Queryable, id: string, at: Date): Promise<boolean> {
  const changed = await t.execute(
    `update host set removed_at = $2::timestamptz, connected = false, place = null where id = $1 and removed_at is null`,
    [id, at.toISOString()],
  )
  return changed === 1
}

export async function bumpChange(t: Queryable): Promise<void> {
  await t.execute('update host_change set version = version + 1', [])
}
export async function selectChange(q: Queryable): Promise<bigint> {
  const [row] = await q.query('select version from host_change', [], z.object({ version: z.bigint() }))
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
  const rows = await q.query(
    `update host set
       revision = case when content_hash = decode(c.hash, 'hex') and revision > c.above then revision
         else greatest(revision, c.above) + 1 end,
       content_hash = decode(c.hash, 'hex'), krl_version = c.krl
     from jsonb_to_recordset($1::jsonb) as c (id text, hash text, krl bigint, above bigint)
     where host.id = c.id and removed_at is null and krl_version <= c.krl
     returning host.id, revision`,
    [
      JSON.stringify(
        contents.map(({ id, hash, krlVersion, above }) => ({ id, hash: toHex(hash), krl: String(krlVersion), above })),
      ),
    ],
    z.object({ id: z.string(), revision: number }),
  )
  const numbers = new Map(rows.map(row => [row.id, row.revision]))
  return contents.map(({ id }) => numbers.get(id))
}

/** What hosts said is in force; one result an item. */
export async function setInForce(
  q: Queryable,
  hosts: readonly (InForce & { readonly seal: Uint8Array; readonly findings: readonly Finding[] })[],
  at: Date,
): Promise<true[]> {
  const said = hosts.map(({ id, revision, krlVersion, hash, seal, findings }) => ({
    id,
    revision,
    krl: String(krlVersion),
    hash: hash ? toHex(hash) : null,
    seal: toHex(seal),
    findings,
  }))
  await q.execute(
    `update host set in_force = a.revision, in_force_krl = a.krl, in_force_seal = decode(a.seal, 'hex'),
       in_force_hash = decode(a.hash, 'hex'), findings = a.findings, message = null,
       failed_revision = null, connected = true, last_seen_at = $2::timestamptz
     from jsonb_to_recordset($1::jsonb) as a (id text, revision bigint, krl bigint, hash text, seal text, findings jsonb)
     where host.id = a.id and removed_at is null`,
    [JSON.stringify(said), at.toISOString()],
  )
  return hosts.map(() => true)
}

/** Whether a joined host that was heard of since `since` still has an older KRL, and has not said that it failed with this one. */
export async function someoneLacks(q: Queryable, krlVersion: bigint, since: Date): Promise<boolean> {
  const [row] = await q.query(
    `select exists (select from host where removed_at is null and joined_at is not null and in_force_krl < $1
       and connected and last_seen_at > $2::timestamptz
       and (krl_version < $1 or failed_revision is null or failed_revision < revision)) as found`,
    [krlVersion, since.toISOString()],
    z.object({ found: z.boolean() }),
  )
  return row?.found === true
}

export async function setFailed(q: Queryable, id: string, revision: number, message: string, at: Date) {
  await q.execute(
    `update host set message = $3, failed_revision = $2, last_seen_at = $4::timestamptz where id = $1 and removed_at is null`,
    [id, revision, message, at.toISOString()],
  )
}

/** One stream of a host. `stream` is another for each that opens, on whichever server. */
export type HostStream = { readonly id: string; readonly stream: string }
export type OpenedStream = HostStream & { readonly agent: string; readonly sshd: string }

/** Streams that opened, in their order, with what the hosts said of themselves; one result an item. */
export async function setOpened(q: Queryable, opened: readonly OpenedStream[], at: Date): Promise<true[]> {
  // Of a host that opened two at once the later one counts.
  const newest = new Map(opened.map(stream => [stream.id, stream]))
  await q.execute(
    `update host set connected = true, stream_id = o.stream, agent_version = o.agent, sshd_version = o.sshd,
       last_seen_at = $2::timestamptz
     from jsonb_to_recordset($1::jsonb) as o (id text, stream text, agent text, sshd text)
     where host.id = o.id and removed_at is null`,
    [JSON.stringify([...newest.values()]), at.toISOString()],
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
  await q.execute(
    `update host set connected = $2, last_seen_at = $3::timestamptz
     from jsonb_to_recordset($1::jsonb) as s (id text, stream text)
     where host.id = s.id and stream_id = s.stream and removed_at is null`,
    [JSON.stringify(streams), connected, at.toISOString()],
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
})
