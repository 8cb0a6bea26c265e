import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { postgresPrograms, startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { checkPostgres } from '../index.ts'

describe.skipIf(!postgresPrograms())("the database's clock", () => {
  let cluster: TestPostgres
  beforeAll(async () => {
    cluster = await startPostgres()
  })
  afterAll(() => cluster?.close())

  it.each([0, 3600, -3600])("is compared with the server's, which is %i seconds ahead", async seconds => {
    const now = () => new Date(Date.now() + seconds * 1000)
    const { clockAhead } = await checkPostgres(cluster.url, cluster.migrationUrl, now)
    expect(Math.abs((clockAhead ?? Number.NaN) - seconds)).toBeLessThan(10)
  })
})
