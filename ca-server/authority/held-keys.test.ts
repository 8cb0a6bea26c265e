import { expect, it } from 'vitest'
import { KeymanError } from '#shared/errors.ts'
import { openRooms } from '#test/support/worlds/rooms.ts'

it('a start asks a keystore once which keys it holds, and once more when it begins to follow what others make', async () => {
  let asked = 0
  const rooms = await openRooms({
    wrapKeystore: keystore => ({
      ...keystore,
      listKeys() {
        asked++
        return keystore.listKeys()
      },
    }),
  })
  expect(asked).toBe(2)
  await rooms.close()
})

it('a keystore that is away is named once with what it held; of its keys nobody is told that somebody changed the database', async () => {
  let isThere = true
  const rooms = await openRooms({
    wrapKeystore: keystore => ({
      ...keystore,
      listKeys: () =>
        isThere ? keystore.listKeys() : Promise.reject(new KeymanError('unavailable', 'the token is gone')),
    }),
  })
  const add = async (label: string) => {
    const { spki } = await rooms.keystore.generateKey(label, 'ed25519')
    await rooms.store.execute(
      `insert into authority_key (label, purpose, state, spki, certificate, incarnation, created_at)
       values ($1, 'ssh-host', $2, $3, null, 'x', now())`,
      [label, label === 'ssh-host-8' ? 'standby' : 'retired', spki],
    )
  }
  const hosts = () => rooms.authority.trusted().hostAuthorities.length
  await add('ssh-host-8')
  await rooms.authority.reload()
  expect([hosts(), rooms.said]).toEqual([2, []])

  isThere = false
  await rooms.authority.reload()
  await rooms.authority.reload()
  const away =
    'keystore does not answer: the token is gone. It held log-1, machines-1, ssh-host-1, ssh-host-8, ssh-user-1'
  expect([hosts(), rooms.said]).toEqual([2, [away]])
  // By another server, in the same token.
  await add('ssh-host-9')
  await rooms.authority.reload()
  const untold = expect.stringMatching(/^authority_key has a row "ssh-host-9".* while keystore does not answer/)
  expect([hosts(), rooms.said]).toEqual([2, [away, untold]])

  isThere = true
  await rooms.authority.reload()
  expect([hosts(), rooms.said]).toEqual([3, [away, untold]])
  // The twin: a row that is no key of this keystore, which says so.
  await rooms.store.execute(`update authority_key set label = 'ssh-host-10' where label = 'ssh-host-9'`, [])
  await rooms.authority.reload()
  expect(rooms.said.at(-1)).toMatch(/^ALARM: authority_key has a row "ssh-host-10"/)
  isThere = false
  await rooms.authority.reload()
  expect(rooms.said.at(-1)).toMatch(/^keystore does not answer/)
  await rooms.close()
})
