import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MachineCaller } from '#server/identity/index.ts'
import { EpochsChanged } from '#server/ledger/index.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { KeyRing } from '../keys.ts'
import { selectKeys } from '../records.ts'
import { createSigner, oneKeystore } from '../sign.ts'
import { issueSessionClientCertificate } from './issue-client-certificate.ts'

let rooms: Rooms
let alice: MachineCaller
beforeAll(async () => {
  rooms = await openRooms()
  await rooms.addPerson('alice@example.com')
  alice = await rooms.addSession('alice@example.com')
})
afterAll(() => rooms.close())

/** The real rooms, over a ledger that finds something changed so many times. */
async function issueAfterChanges(changes: number) {
  let left = changes
  const ring = new KeyRing(await selectKeys(rooms.store))
  const ledger: Pick<Rooms['ledger'], 'issue' | 'append'> = {
    append: entry => rooms.ledger.append(entry),
    issue: request => (left-- > 0 ? Promise.reject(new EpochsChanged()) : rooms.ledger.issue(request)),
  }
  return issueSessionClientCertificate(
    {
      ledger,
      signer: createSigner(oneKeystore(rooms.keystore), ledger),
      keys: () => ring,
      isKeyRevoked: () => false,
      identity: rooms.identity,
      organisation: 'acme',
      now: () => rooms.clock.now,
      random: bytes => crypto.getRandomValues(new Uint8Array(bytes)),
    },
    alice,
    { requestId: `req_after_${changes}` },
  )
}

test('what changed meanwhile is read anew twice, and after that the caller is asked to come again', async () => {
  expect((await issueAfterChanges(2)).pem).toContain('BEGIN CERTIFICATE')
  await expect(issueAfterChanges(3)).rejects.toMatchObject({ code: 'conflict' })
})
