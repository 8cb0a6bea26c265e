import { afterAll, beforeAll, expect, it } from 'vitest'
import { z } from 'zod'
import { incarnationId } from '#server/store/index.ts'
import { readRevoked } from '#shared/audit/index.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { beginSerialsIn } from './restore.ts'

const SPAN = 1n << 40n
let rooms: Rooms
beforeAll(async () => {
  rooms = await openRooms()
})
afterAll(() => rooms.close())

const begin = (number: number, labels: readonly string[]) => {
  const held = {
    find: ({ label }: { label: string }) =>
      labels.includes(label) ? { name: 'keystore' as const, keystore: rooms.keystore } : undefined,
    labelsOf: () => labels,
  }
  const incarnation = incarnationId(number, crypto.randomUUID())
  return rooms.store.transaction({ name: 'restore', deadlineMs: 10_000 }, async t => {
    const { krlVersion, facts } = await beginSerialsIn(rooms.ledger, t, { incarnation, held, at: new Date() })
    const row = z.object({ authority: z.string(), next: z.bigint() })
    const blocks = await t.query(
      'select authority, next from serial_block where incarnation = $1 order by authority',
      [incarnation],
      row,
    )
    return {
      krlVersion,
      blocks,
      revoked: readRevoked(prefix => facts.map(({ id }) => id).filter(id => id.startsWith(prefix))),
    }
  })
}

it('serials and KRL versions of a history begin where no earlier one can have come, by its number', async () => {
  const held = ['ssh-user-1', 'ssh-host-1', 'machines-1']
  const second = await begin(2, held)
  expect(second.blocks).toEqual([
    { authority: 'ssh-host-1', next: SPAN },
    { authority: 'ssh-user-1', next: SPAN },
  ])
  expect(second.krlVersion).toBeGreaterThan(SPAN)
  expect(second.revoked).toMatchObject([{ authority: 'ssh-user-1', from: 2n, to: SPAN - 1n }])
  // The same backup put back once more: what the second history gave is not given by the fourth.
  const fourth = await begin(4, held)
  expect(fourth.blocks.map(({ next }) => next)).toEqual([3n * SPAN, 3n * SPAN])
  expect(fourth.krlVersion).toBeGreaterThan(3n * SPAN)
  // One that has given more than a span goes on behind all of that.
  await rooms.store.execute('update serial_block set next = $1::bigint where authority = $2', [
    9n * SPAN + 5n,
    'ssh-user-1',
  ])
  expect((await begin(5, held)).blocks.find(({ authority }) => authority === 'ssh-user-1')?.next).toBe(10n * SPAN)
})

it('a row that somebody wrote is no authority: nothing of it comes onto the list', async () => {
  expect((await begin(6, ['ssh-host-1'])).revoked).toEqual([])
})

it('an authority that the log says has given serials is not passed over where its row is hidden', async () => {
  const reserved = { id: 'serials:ssh-user-7 first', is: '1002' }
  await rooms.store.transaction({ name: 'reserve', deadlineMs: 10_000 }, t =>
    rooms.ledger.appendIn(t, [
      { requestId: 'req_seven', kind: 'serials-reserved', actor: { kind: 'server' }, facts: [reserved] },
    ]),
  )
  await rooms.ledger.follow()
  const held = ['ssh-user-1', 'ssh-host-1', 'ssh-user-7']
  await expect(begin(7, held)).rejects.toThrow('the database lacks the authority key ssh-user-7')
  await rooms.store.execute(
    `insert into authority_key (label, purpose, state, spki, certificate, incarnation, created_at)
       select 'ssh-user-7', purpose, 'retired', spki, certificate, incarnation, created_at from authority_key
       where label = 'ssh-user-1'`,
    [],
  )
  expect((await begin(8, held)).revoked.map(({ authority }) => authority)).toContain('ssh-user-7')
})
