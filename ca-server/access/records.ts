import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { schemas } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parsePersonIdentity, parseTeamName } from '#shared/names.ts'
import type { Grant, Team } from './port.ts'

/** This room's rows: `migrations/0004_access.sql`. */

const COLUMNS = 'id, who, login, hosts, options, max_lifetime, ends_at, created_at, created_by'

/** What stands in the database is checked by the API's own schema: a row that does not fit gives nothing. */
const grantRow = z
  .object({
    id: z.string(),
    who: z.string(),
    login: z.string(),
    hosts: z.unknown(),
    options: z.unknown(),
    max_lifetime: z.int(),
    ends_at: z.date().nullable(),
    created_at: z.date(),
    created_by: z.string(),
  })
  .transform((row, context) => {
    // Not by `parse`: what that throws from in here, `safeParse` of the row does not catch.
    const grant = schemas.grant.safeParse({
      id: row.id,
      who: row.who,
      login: row.login,
      hosts: row.hosts,
      options: row.options,
      maxLifetime: row.max_lifetime,
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
  await t.execute(
    `insert into access_grant (${COLUMNS})
     values ($1, $2, $3, $4::jsonb, $5::jsonb, $6::int, $7::timestamptz, $8::timestamptz, $9)`,
    [
      grant.id,
      grant.who,
      grant.login,
      JSON.stringify(grant.hosts),
      JSON.stringify(grant.options),
      grant.maxLifetime,
      grant.endsAt ?? null,
      grant.createdAt,
      grant.createdBy,
    ],
  )
}

/** False where it was not there any more. */
export const deleteGrant = async (t: Queryable, id: string): Promise<boolean> =>
  (await t.execute('delete from access_grant where id = $1', [id])) > 0

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
