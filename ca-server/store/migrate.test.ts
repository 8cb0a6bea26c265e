import { describe, expect, it } from 'vitest'
import { type Migration, type MigrationConnection, migrate, readMigrations } from './migrate.ts'

/** A connection that only remembers: the runner's decisions need no database; the real ones run in the engines' tests. */
function remembering(applied: { name: string; sha256: string }[] = []) {
  const ran: string[] = []
  const connection: MigrationConnection = {
    run: async sql => void ran.push(sql),
    rows: async (sql, parameters) => {
      if (sql.startsWith('insert')) applied.push({ name: String(parameters[0]), sha256: String(parameters[1]) })
      return sql.startsWith('select') ? applied : []
    },
  }
  return { connection, ran, applied }
}
const file = (name: string, sql: string): Migration => ({ name, sql, sha256: `digest of ${sql}` })

describe('migrations', () => {
  it('are applied in order, each in a transaction of its own, and never twice', async () => {
    const { connection, ran } = remembering()
    const files = [file('0001_a.sql', 'create a'), file('0002_b.sql', 'create b')]
    await migrate(connection, files)
    await migrate(connection, files)
    expect(ran.filter(sql => sql.startsWith('create') && !sql.includes('schema_migration'))).toEqual([
      'create a',
      'create b',
    ])
    expect(ran.filter(sql => sql === 'begin').length).toBe(ran.filter(sql => sql === 'commit').length)
  })

  it('are refused when a file was changed after it had been applied', async () => {
    const { connection } = remembering([{ name: '0001_a.sql', sha256: 'digest of another' }])
    await expect(migrate(connection, [file('0001_a.sql', 'create a')])).rejects.toThrow('0001_a.sql was changed')
  })

  it('lie where the runner looks, each with a number of its own', () => {
    const names = readMigrations().map(({ name }) => name)
    expect(names[0]).toBe('0001_base.sql')
    expect(new Set(names.map(name => name.slice(0, 4))).size).toBe(names.length)
  })
})
