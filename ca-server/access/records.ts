import { and, asc, eq, getTableColumns, gt, sql } from 'drizzle-orm'
import type { PgColumn } from 'drizzle-orm/pg-core'
import { z } from 'zod'
import { builder, eachRow, type Queryable, rows, run } from '#server/store/index.ts'
import { schemas } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonIdentity, Place, TeamName } from '#shared/names.ts'
import type { Grant, OwnRole, Team } from './port.ts'
import { accessGrant, place, role, team, teamMember } from './tables.ts'

/** The rows of this room. */

/** The database's word on what a kind of grant has is checked by the API's own schema: a row that does not fit gives nothing. */
function toGrant(row: typeof accessGrant.$inferSelect | undefined): Grant | undefined {
  if (row === undefined) return undefined
  const { id, kind, who, createdBy, endsAt } = row
  const ends = endsAt === null ? {} : { endsAt: endsAt.toISOString() }
  const made = { createdAt: row.createdAt.toISOString(), createdBy }
  return schemas.grant.safeParse({ id, kind, who, ...given(row), ...ends, ...made }).data
}

function given({ kind, place, ...row }: typeof accessGrant.$inferSelect): object {
  const where = place ?? undefined
  if (kind === 'role') return { role: row.role, in: where }
  const { profile, names, wildcards, maxLifetime } = row
  if (kind === 'names') return { profile, names, wildcards, maxLifetime, in: where }
  const hosts = where === undefined ? row.hosts : { ...row.hosts, in: where }
  return { login: row.login, hosts, options: row.options, maxLifetime }
}

const grants = () => builder.select().from(accessGrant)

/** A row that does not fit gives nothing, and is told of: it must not take away what the others give. */
export async function selectGrants(on: Queryable, onError: (error: unknown) => void = () => {}): Promise<Grant[]> {
  const found = await eachRow(on, grants().orderBy(asc(accessGrant.createdAt), asc(accessGrant.id)))
  return found.flatMap(({ row, fits }) => {
    const grant = toGrant(row)
    if (grant) return [grant]
    onError(new KeymanError('internal', `the grant ${fits.id} in the database is not well-formed and gives nothing`))
    return []
  })
}

/** All that are given to this person or team. One that does not fit gives nothing. */
export const selectGrantsTo = async (on: Queryable, who: string): Promise<Grant[]> =>
  (await eachRow(on, grants().where(eq(accessGrant.who, who)))).flatMap(({ row }) => toGrant(row) ?? [])

/** Whatever it is: what is no name states something, too. */
const sqlText = (column: PgColumn) => sql`${column}`.mapWith(z.string().parse)

type Page = { readonly after: string; readonly limit: number }

/** In the order of their IDs, those too that do not fit. */
export const selectGrantPage = async (
  on: Queryable,
  { after, limit }: Page,
): Promise<{ readonly id: string; readonly grant: Grant | undefined }[]> =>
  (await eachRow(on, grants().where(gt(accessGrant.id, after)).orderBy(asc(accessGrant.id)).limit(limit))).map(
    ({ row, fits }) => ({ id: fits.id ?? '', grant: toGrant(row) }),
  )

export async function selectGrant(on: Queryable, id: string): Promise<Grant | undefined> {
  const [found] = await eachRow(on, grants().where(eq(accessGrant.id, id)))
  return toGrant(found?.row)
}

export async function insertGrant(t: Queryable, grant: Grant): Promise<void> {
  const { id, kind, who, createdBy } = grant
  const endsAt = grant.endsAt === undefined ? null : new Date(grant.endsAt)
  await run(
    t,
    builder
      .insert(accessGrant)
      .values({ id, kind, who, createdAt: new Date(grant.createdAt), createdBy, endsAt, ...columnsOf(grant) }),
  )
}

/** What can be changed of it. */
export async function updateGrant(t: Queryable, grant: Grant): Promise<void> {
  const endsAt = grant.endsAt === undefined ? null : new Date(grant.endsAt)
  const limits = {
    ...('maxLifetime' in grant ? { maxLifetime: grant.maxLifetime } : {}),
    ...('options' in grant ? { options: grant.options } : {}),
  }
  const changed = builder.update(accessGrant).set({ endsAt, ...limits })
  await run(t, changed.where(eq(accessGrant.id, grant.id)))
}

function columnsOf(grant: Grant) {
  if (grant.kind === 'role') return { role: grant.role, place: grant.in ?? null }
  if (grant.kind === 'names') {
    const { profile, names, wildcards, maxLifetime } = grant
    return { profile, names, wildcards, maxLifetime, place: grant.in ?? null }
  }
  const { login, hosts, options, maxLifetime } = grant
  // The place is a column, which the database keeps from being taken away.
  const { in: where = null, ...selector } = { in: undefined, ...hosts }
  return { login, hosts: selector, options, maxLifetime, place: where }
}

/** False where it was not there any more. */
export const deleteGrant = async (t: Queryable, id: string): Promise<boolean> =>
  (await run(t, builder.delete(accessGrant).where(eq(accessGrant.id, id)))) > 0

export type PlaceRow = Pick<typeof place.$inferSelect, 'name' | 'createdAt'>

/** Projects and environments, in the order of their names. A row that does not fit is none. */
export const selectPlaces = async (on: Queryable): Promise<PlaceRow[]> =>
  (
    await eachRow(
      on,
      builder.select({ name: place.name, createdAt: place.createdAt }).from(place).orderBy(asc(place.name)),
    )
  ).flatMap(({ row }) => row ?? [])

export const selectPlacePage = (on: Queryable, { after, limit }: Page): Promise<{ name: string }[]> => {
  const page = builder.select({ name: sqlText(place.name) }).from(place)
  return rows(on, page.where(sql`${place.name} > ${after}`).orderBy(asc(place.name)).limit(limit))
}

/** False where it is there already. */
export const insertPlace = async (t: Queryable, name: Place, createdAt: Date): Promise<boolean> =>
  (await run(t, builder.insert(place).values({ name, createdAt }).onConflictDoNothing())) > 0

export const deletePlace = (t: Queryable, name: Place): Promise<number> =>
  run(t, builder.delete(place).where(eq(place.name, name)))

/** Own roles, in the order of their names. A row that does not fit is none. */
export const selectRoles = async (on: Queryable): Promise<OwnRole[]> =>
  (await eachRow(on, builder.select().from(role).orderBy(asc(role.name)))).flatMap(({ row }) => row ?? [])

/** In the order of their names, those too that do not fit. */
export const selectRolePage = async (
  on: Queryable,
  { after, limit }: Page,
): Promise<{ readonly name: string; readonly role: OwnRole | undefined }[]> => {
  // Whatever it is: what is no name states something, too.
  const page = builder.select({ ...getTableColumns(role), id: sqlText(role.name) }).from(role)
  const found = await eachRow(on, page.where(sql`${role.name} > ${after}`).orderBy(asc(role.name)).limit(limit))
  return found.map(({ row, fits }) => ({ name: fits.id ?? '', role: row }))
}

export async function selectRole(on: Queryable, name: string): Promise<OwnRole | undefined> {
  const [found] = await eachRow(on, builder.select().from(role).where(eq(role.name, name)))
  return found?.row
}

export async function insertRole(t: Queryable, added: OwnRole): Promise<void> {
  await run(t, builder.insert(role).values({ ...added, actions: [...added.actions] }))
}

export async function updateRole(t: Queryable, { name, actions }: Pick<OwnRole, 'name' | 'actions'>): Promise<void> {
  await run(
    t,
    builder
      .update(role)
      .set({ actions: [...actions] })
      .where(eq(role.name, name)),
  )
}

export const deleteRole = (t: Queryable, name: string): Promise<number> =>
  run(t, builder.delete(role).where(eq(role.name, name)))

export type TeamRow = { readonly name: TeamName; readonly person: PersonIdentity | null }

const members = () =>
  builder
    .select({ name: team.name, person: teamMember.person })
    .from(team)
    .leftJoin(teamMember, eq(teamMember.team, team.name))

/** A row a member; one without a person where a team has none. One that does not fit is nobody. */
export const selectTeamRows = async (on: Queryable): Promise<TeamRow[]> =>
  (await eachRow(on, members().orderBy(asc(team.name), asc(teamMember.person)))).flatMap(({ row }) => row ?? [])

export const toTeams = (found: readonly TeamRow[]): Team[] =>
  [...Map.groupBy(found, row => row.name)].map(([name, of]) => ({
    name,
    members: of.flatMap(({ person }) => person ?? []),
  }))

/** `undefined` where there is no such team. */
export async function selectMembers(on: Queryable, name: TeamName): Promise<PersonIdentity[] | undefined> {
  const found = await eachRow(on, members().where(eq(team.name, name)).orderBy(asc(teamMember.person)))
  return found.length === 0 ? undefined : found.flatMap(({ row }) => row?.person ?? [])
}

/** In the order of their names. */
export const selectMemberPage = (
  on: Queryable,
  after: { readonly team: string; readonly person: string },
  limit: number,
): Promise<{ team: string; person: string }[]> => {
  const isLater = sql`(${teamMember.team}, ${teamMember.person}) > (${after.team}, ${after.person})`
  return rows(
    on,
    builder
      .select({ team: sqlText(teamMember.team), person: sqlText(teamMember.person) })
      .from(teamMember)
      .where(isLater)
      .orderBy(asc(teamMember.team), asc(teamMember.person))
      .limit(limit),
  )
}

/** Makes the team where it is new. False where the person was a member already. */
export async function insertMember(
  t: Queryable,
  name: TeamName,
  person: PersonIdentity,
  createdAt: Date,
): Promise<boolean> {
  await run(t, builder.insert(team).values({ name, createdAt }).onConflictDoNothing())
  return (await run(t, builder.insert(teamMember).values({ team: name, person }).onConflictDoNothing())) > 0
}

/** False where the person was no member. */
export const deleteMember = async (t: Queryable, name: TeamName, person: PersonIdentity): Promise<boolean> =>
  (await run(t, builder.delete(teamMember).where(and(eq(teamMember.team, name), eq(teamMember.person, person))))) > 0
