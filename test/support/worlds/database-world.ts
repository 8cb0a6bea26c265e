import { createHash } from 'node:crypto'
import pg from 'pg'
import { expect } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api, type hostStream } from '#shared/api/index.ts'
import { fromBase64 } from '#shared/bytes.ts'
import { decodeKrl, isRevoked, parseCertificate } from '#shared/ssh/index.ts'
import { parseTrustDocument } from '#shared/trust/index.ts'
import { type ApiPerson, page, pageCall } from '../people/api-person.ts'
import { startPostgres, type TestPostgres } from '../programs/postgres.ts'
import { type AttackWorld, hostStreamOf, type JoinedHost, openAttackWorld } from './attack-world.ts'

/** A running server on PostgreSQL, and somebody who may run any SQL there as its superuser, but has neither server nor keystore. */
export type DatabaseWorld = AttackWorld & {
  readonly postgres: TestPostgres
  sql(text: string, values?: readonly unknown[]): Promise<Record<string, unknown>[]>
  /** Has whatever changes such rows (`which`: of these) wait in its transaction, and gives what lets it go on. */
  hold(
    table: string,
    when: 'insert' | 'update' | 'delete',
    which: string,
  ): Promise<{ until(waiting: number): Promise<void>; letGo(): Promise<unknown> }>
  /** Has such rows written otherwise than they are meant to be. */
  lie(table: string, when: 'insert' | 'update' | 'delete', what: string, which?: string): Promise<void>
  /** Waits until the server has told of it in its own log. */
  tells(what: RegExp): Promise<void>
  /** The cookie of a browser that this person signs in. */
  signIn(person: ApiPerson, otherwise?: (options: Record<string, unknown>) => unknown): Promise<string>
  /** Whose cookie it is, or the code of the refusal. */
  seenAs(cookie: string | undefined): Promise<string>
}

export async function openDatabaseWorld(): Promise<DatabaseWorld> {
  const postgres = await startPostgres({ fsync: false })
  try {
    const world = await openAttackWorld({
      env: { KEYMAN_DATABASE_URL: postgres.url, KEYMAN_DATABASE_MIGRATION_URL: postgres.migrationUrl },
    })
    const admin = new pg.Client(postgres.adminUrl)
    admin.on('error', () => {})
    await admin.connect()
    const target = world.server
    const sql: DatabaseWorld['sql'] = async (text, values) =>
      (await admin.query(text, values && [...values])).rows ?? []
    let triggers = 0
    return {
      ...world,
      postgres,
      sql,
      async hold(table, when, which) {
        const name = `hold${++triggers}`
        const lock = 700 + triggers
        await sql(`select pg_advisory_lock(${lock});
          create function ${name}() returns trigger language plpgsql as
            $$ begin perform pg_advisory_xact_lock_shared(${lock}); if tg_op = 'DELETE' then return old; end if; return new; end $$;
          create trigger ${name} before ${when} on ${table} for each row when (${which}) execute function ${name}()`)
        const waitingNow = () =>
          sql(`select from pg_locks where locktype = 'advisory' and objid = ${lock} and not granted`)
        return {
          until: waiting => expect.poll(waitingNow, { timeout: 5_000 }).toHaveLength(waiting),
          letGo: () => sql(`select pg_advisory_unlock(${lock})`),
        }
      },
      async lie(table, when, what, which = 'true') {
        const name = `lie${++triggers}`
        await sql(`create function ${name}() returns trigger language plpgsql security definer as $$ begin ${what} end $$;
          create trigger ${name} before ${when} on ${table} for each row when (${which}) execute function ${name}()`)
      },
      tells: what => expect.poll(() => target.output(), { timeout: 15_000 }).toMatch(what),
      async signIn(person, otherwise = options => person.authenticator.get(options)) {
        const { options } = await page(target, api.signIn.options)
        const answer = await pageCall(target, api.signIn.complete, { body: { assertion: otherwise(options) } })
        if (answer.cookie === undefined) throw new Error(`no cookie: ${answer.problem?.code}`)
        return answer.cookie
      },
      async seenAs(cookie) {
        const { body, problem } = await pageCall(target, api.session.show, { cookie })
        return problem?.code ?? body.person
      },
      async close() {
        await world.close()
        await admin.end()
        await postgres.close()
      },
    }
  } catch (error) {
    await postgres.close()
    throw error
  }
}

/** As secrets are stored. */
export const hashOf = (text: string): Buffer => createHash('sha256').update(text).digest()

/** A stream of a host that says that it has this revision in force, and what it is told first. */
export async function streamOf(world: AttackWorld, host: JoinedHost, revision: number) {
  const { bundles } = await call(world.stranger, api.trust.show)
  const { incarnation } = parseTrustDocument(bundles.at(-1)?.document ?? '')
  const first = Promise.withResolvers<hostStream.FrameToAgent>()
  const stream = await hostStreamOf(host, first.resolve)
  stream.send({ type: 'hello', revision, incarnation, agent: 'test', sshd: 'none' })
  const closed = stream.ended.then(why => Promise.reject(new Error(`the stream was closed: ${why}`)))
  const frame = await Promise.race([first.promise, closed])
  closed.catch(() => {})
  const told = frame.type === 'state' ? frame.state.revision : revision
  return {
    frame,
    revision: told,
    close: () => stream.close(),
    /** Says that this is in force, and leaves once the server has written that down. */
    async inForce() {
      stream.send({ type: 'in-force', revision: told })
      await expect
        .poll(async () => (await call(world.alice.connection, api.hosts.show, { params: { name: host.name } })).inForce)
        .toBe(told)
      stream.close()
    },
  }
}

/** What a host is told first on a new stream. */
export async function stateOf(world: AttackWorld, host: JoinedHost): Promise<hostStream.DesiredState> {
  const { frame, close } = await streamOf(world, host, 0)
  close()
  if (frame.type !== 'state') throw new Error(`a ${frame.type}`)
  return frame.state
}

/** Whether a host refuses this certificate, by what it is told. */
export async function isRevokedAt(world: AttackWorld, host: JoinedHost, certificate: string): Promise<boolean> {
  const { krl } = await stateOf(world, host)
  return isRevoked(decodeKrl(fromBase64(krl.base64)), parseCertificate(certificate))
}
