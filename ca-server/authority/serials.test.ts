import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { serialsOf } from './serials.ts'

let rooms: Rooms
let requests = 0
beforeEach(async () => {
  rooms = await openRooms()
})
afterEach(() => rooms.close())

/** As another process has them, or the same after a restart. */
const begun = (label = 'ssh-user-1') =>
  serialsOf({ store: rooms.store, ledger: rooms.ledger, newRequestId: () => `req_serials_${++requests}` }, label)
const many = async (count: number, serials = begun()) => {
  const given: bigint[] = []
  for (let n = 0; n < count; n++) given.push(await serials.next())
  return given
}

it('serials of servers that reserve at the same moment are never the same, and the log says how far they have come', async () => {
  const given = (await Promise.all([many(1200), many(1200), many(3)])).flat()
  expect(new Set(given).size).toBe(2403)
  const [newest] = await rooms.ledger.list({ limit: 1, kind: 'serials-reserved' })
  const { target, details } = JSON.parse(newest?.record ?? '')
  expect(target).toBe('ssh-user-1')
  for (const serial of given) expect(serial <= BigInt(details.to)).toBe(true)
})

describe('somebody who owns the database', () => {
  const set = (next: bigint) =>
    rooms.store.execute(`update serial_block set next = $1::bigint where authority = 'ssh-user-1'`, [next])
  const REFUSED = /the serials of ssh-user-1 in the database are not what the audit log says/

  it('has no serial given twice by setting them back, nor by taking their row away; set to what they were they go on', async () => {
    await many(1)
    await set(2n)
    await expect(begun().next()).rejects.toThrow(REFUSED)
    await set(5000n)
    await expect(begun().next()).rejects.toThrow(REFUSED)
    await rooms.store.execute(`delete from serial_block where authority = 'ssh-user-1'`, [])
    await expect(begun().next()).rejects.toThrow(REFUSED)
    await rooms.store.execute(
      `insert into serial_block (authority, incarnation, next) values ('ssh-user-1', $1, 1002)`,
      [rooms.store.incarnation],
    )
    expect(await begun().next()).toBe(1002n)
  })

  it('has none given twice by answering with the row of an authority that has come less far; with its own it goes on', async () => {
    expect(await begun().next()).toBe(2n)
    expect(await begun().next()).toBe(1002n)
    expect(await begun('ssh-host-1').next()).toBe(2n)
    const run = (statement: string) => rooms.store.execute(statement, [])
    await run('create schema lies')
    await run(`create function lies.same(text, text) returns boolean language sql immutable as
      $$ select $1 operator(pg_catalog.=) case when $2 operator(pg_catalog.=) 'ssh-user-1' then 'ssh-host-1' else $2 end $$`)
    await run('create operator lies.= (leftarg = text, rightarg = text, function = lies.same)')
    await run('set search_path = lies, pg_catalog, public')
    await expect(begun().next()).rejects.toThrow(REFUSED)
    await run('reset search_path')
    expect(await begun().next()).toBe(2002n)
  })

  it('begins none by a row that was there before the first', async () => {
    await rooms.store.execute(
      `insert into serial_block (authority, incarnation, next) values ('ssh-user-1', $1, 900)`,
      [rooms.store.incarnation],
    )
    await expect(begun().next()).rejects.toThrow(REFUSED)
    await rooms.store.execute(`delete from serial_block where authority = 'ssh-user-1'`, [])
    expect(await begun().next()).toBe(2n)
  })

  it('that a trigger keeps from moving on is no way back either', async () => {
    await rooms.store.execute(
      `create function stay() returns trigger language plpgsql as $$ begin new.next := old.next; return new; end $$`,
      [],
    )
    await many(1)
    await rooms.store.execute(
      'create trigger stay before update on serial_block for each row execute function stay()',
      [],
    )
    expect(await begun().next()).toBe(1002n)
    await expect(begun().next()).rejects.toThrow(REFUSED)
  })
})
