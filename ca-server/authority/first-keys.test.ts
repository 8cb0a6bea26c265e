import { join } from 'node:path'
import { expect, it } from 'vitest'
import { openKeystore } from '#server/keystore/index.ts'
import { openRooms } from '#test/support/worlds/rooms.ts'
import { ensureAuthorityKeys } from './first-keys.ts'
import { HeldKeys } from './held-keys.ts'

it('a keystore that lost an authority key, or is another, is seen at the start', async () => {
  const rooms = await openRooms()
  const other = await openKeystore({
    kind: 'software',
    folder: join(rooms.folder, 'other'),
    unlock: { keyFile: join(rooms.folder, 'other.key') },
  })
  const start = async (keystore: typeof other) =>
    ensureAuthorityKeys({
      store: rooms.store,
      ledger: rooms.ledger,
      keystore,
      algorithm: 'ed25519',
      now: () => rooms.clock.now,
      random: () => new Uint8Array(8),
      held: await HeldKeys.ask(keystore),
      newRequestId: () => 'req_test',
      verifiedBundle: () => undefined,
    })
  try {
    await expect(start(other)).rejects.toThrow(
      'no keystore of this server (keystore) holds the key ssh-user-1, which hosts trust',
    )
    expect(await other.listKeys()).toEqual([])
    await other.generateKey('ssh-user-1', 'ed25519')
    await expect(start(other)).rejects.toThrow('keystore holds another key by the name of ssh-user-1')
    const { known, refused } = await start(rooms.keystore)
    expect(known.map(({ label }) => label).sort()).toEqual(['machines-1', 'ssh-host-1', 'ssh-user-1'])
    expect(refused).toEqual([])
  } finally {
    await other.close()
    await rooms.close()
  }
})
