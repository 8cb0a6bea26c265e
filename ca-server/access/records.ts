import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { schemas } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { type Place, parsePersonIdentity, parseTeamName } from '#shared/names.ts'
import type { Grant, Team } from './port.ts'

/** This room's rows: `migrations/0004_access.sql`. */

const COLUMNS = 'id, kind, who, login, hosts, options, max_lifetime, role, place, ends_at, created_at, created_by'

const object = z.record(z.string(), z.unknown()).catch({})

/** What stands in the database is checked by the API's own schema: a row that does not fit gives nothing. */
const grantRow = z
  .object({
    id: z.string(),
    kind: z.string(),
    who: z.string(),
    login: z.string().nullable(),
    hosts: z.unknown(),
    options: z.unknown(),
    max_lifetime: z.int().nullable(),
    role: z.string().nullable(),
    place: z.string().nullable(),
    ends_at: z.date().nullable(),
    created_at: z.date(),
    created_by: z.string(),
  })
  .transform((row, context) => {
    // Not by `parse`: what that throws from in here, `safeParse` of the row does not catch.
    const grant = schemas.grant.safeParse({
      id: row.id,
      kind: row.kind,
      who: row.who,
      ...(row.kind === 'role'
        ? { role: row.role, in: row.place ?? undefined }
        : {
            login: row.login,
            hosts: row.place === null ? row.hosts : { ...object.parse(row.hosts), in: row.place },
            options: row.options,
            maxLifetime: row.max_lifetime,
          }),
      ...(row.ends_at === null ? {} : { endsAt: row.ends_at.toISOString() }),
      createdAt: row.created_at.toISOString(),
      createdBy: row.created_by,
    })
    if (grant.success) return grant.data
    context.addIssue('this is no grant')
    return z.NEVER
  })

/** A row that does not fit gives nothing, and is told of: it must not take away what the others give. */
export async function selectGrants(on: Queryable, onError: (error: unknown) => void = () => {}): Promise<Grant[]> {
  const rows = await on.query(
    `select ${COLUMNS} from access_grant order by created_at, id`,
    [],
    z.looseObject({ id: z.string() }),
  )
  return rows.flatMap(row => {
    const grant = grantRow.safeParse(row)
    if (grant.success) return [grant.data]
    onError(new KeymanError('internal', `the grant ${row.id} in the database is not well-formed and gives nothing`))
    return []
  })
}

/** In the order of their IDs, those too that do not fit. */
export const selectGrantPage = async (
  on: Queryable,
  { after, limit }: { readonly after: string; readonly limit: number },
): Promise<{ readonly id: string; readonly grant: Grant | undefined }[]> =>
  (
    await on.query(
      `select ${COLUMNS} from access_grant where id > $1 order by id limit $2::int`,
      [after, limit],
      z.looseObject({ id: z.string() }),
    )
  ).map(row => ({ id: row.id, grant: grantRow.safeParse(row).data }))

export async function selectGrant(on: Queryable, id: string): Promise<Grant | undefined> {
  const [row] = await on.query(`select ${COLUMNS} from access_grant where id = $1`, [id], grantRow)
  return row
}

export async function insertGrant(t: Queryable, grant: Grant): Promise<void> {
  const login = grant.kind === 'login' ? grant : undefined
  const role = grant.kind === 'role' ? grant : undefined
  // The place is a column, which the database keeps from being taken away.
  const { in: where, ...selector } = { in: undefined, ...login?.hosts }
  await t.execute(
    `insert into access_grant (${COLUMNS})
     values ($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7::int, $8, $9, $10::timestamptz, $11::timestamptz, $12)`,
    [
      grant.id,
      grant.kind,
      grant.who,
      login?.login ?? null,
      login ? JSON.stringify(selector) : null,
      login ? JSON.stringify(login.options) : null,
      login?.maxLifetime ?? null,
      role?.role ?? null,
      role?.in ?? where ?? null,
      grant.endsAt ?? null,
      grant.createdAt,
      grant.createdBy,
    ],
  )
}

/** False where it was not there any more. */
export const deleteGrant = async (t: Queryable, id: string): Promise<boolean> =>
  (await t.execute('delete from access_grant where id = $1', [id])) > 0

/** Projects and environments, in the order of their names. */
export const selectPlaces = (on: Queryable): Promise<PlaceRow[]> =>
  on.query('select name, created_at from place order by name', [], placeRow)

export const selectPlacePage = (
  on: Queryable,
  { after, limit }: { readonly after: string; readonly limit: number },
): Promise<PlaceRow[]> =>
  on.query('select name, created_at from place where name > $1 order by name limit $2::int', [after, limit], placeRow)

const placeRow = z
  .object({ name: z.string(), created_at: z.date() })
  .transform(row => ({ name: row.name, createdAt: row.created_at }))
export type PlaceRow = z.infer<typeof placeRow>

/** False where it is there already. */
export const insertPlace = async (t: Queryable, name: Place, at: string): Promise<boolean> =>
  (await t.execute('insert into place (name, created_at) values ($1, $2::timestamptz) on conflict do nothing', [
    name,
    at,
  ])) > 0

export const deletePlace = (t: Queryable, name: Place): Promise<number> =>
  t.execute('delete from place where name = $1', [name])

const teamRow = z.object({ name: z.string(), person: z.string().nullable() })

export type TeamRow = { readonly name: string; readonly person: string | null }

/** A row a member; one without a person where a team has none. */
export const selectTeamRows = (on: Queryable): Promise<TeamRow[]> =>
  on.query(
    'select t.name, m.person from team t left join team_member m on m.team = t.name order by t.name, m.person',
    [],
    teamRow,
  )

export const toTeams = (rows: readonly TeamRow[]): Team[] =>
  [...Map.groupBy(rows, row => row.name)].map(([name, members]) => ({
    name: parseTeamName(name, 'team'),
    members: members.flatMap(({ person }) => (person === null ? [] : [parsePersonIdentity(person, 'person')])),
  }))

/** `undefined` where there is no such team. */
export async function selectMembers(on: Queryable, team: string): Promise<string[] | undefined> {
  const rows = await on.query(
    'select t.name, m.person from team t left join team_member m on m.team = t.name where t.name = $1 order by m.person',
    [team],
    teamRow,
  )
  return rows.length === 0 ? undefined : rows.flatMap(({ person }) => (person === null ? [] : [person]))
}

/** Makes the team where it is new. False where the person was a member already. */
export async function insertMember(t: Queryable, team: string, person: string, at: string): Promise<boolean> {
  await t.execute('insert into team (name, created_at) values ($1, $2::timestamptz) on conflict do nothing', [team, at])
  return (
    (await t.execute('insert into team_member (team, person) values ($1, $2) on conflict do nothing', [team, person])) >
    0
  )
}

/** False where the person was no member. */
export const deleteMember = async (t: Queryable, team: string, person: string): Promise<boolean> =>
  (await t.execute('delete from team_member where team = $1 and person = $2', [team, person])) > 0
