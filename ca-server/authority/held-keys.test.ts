import { expect, it } from 'vitest'
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
