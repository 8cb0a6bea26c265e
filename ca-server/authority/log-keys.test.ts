import { generateKeyPairSync, sign } from 'node:crypto'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openKeystore } from '#server/keystore/index.ts'
import { fromBase64Url, toBase64, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { MAX_LOG_KEYS } from '#shared/trust/index.ts'
import { fastFolder } from '#test/support/fast-folder.ts'
import { newWorld } from '#test/support/trust-world.ts'
import { createLogKeys, findLogKeys, logKeysToName, openLogKeys } from './log-keys.ts'

const NAME = 'acme/keyman-log'
const bundle = newWorld().bundle()
/** A key in a keystore of this name, which may be gone. */
function newHeld(at: string) {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const held = {
    at,
    isThere: true,
    asked: 0,
    publicKey: fromBase64Url(publicKey.export({ format: 'jwk' }).x ?? ''),
    async sign(data: Uint8Array) {
      held.asked++
      if (!held.isThere) throw new KeymanError('unavailable', `${at} is gone`)
      return new Uint8Array(sign(null, data, privateKey))
    },
  }
  return held
}
type Held = ReturnType<typeof newHeld>
const naming = (...keys: Held[]) => {
  const [first, ...others] = keys.map(({ publicKey }) => toBase64(publicKey))
  return {
    ...bundle,
    logKey: { name: NAME, key: first ?? '' },
    ...(others.length > 0 ? { otherLogKeys: others } : {}),
  }
}

describe('whichever can, signs', () => {
  const open = (held: Held[], named: Held[] = held) => {
    const alarms: string[] = []
    const state = { bundle: named.length > 0 ? naming(...named) : undefined }
    const keys = createLogKeys({
      name: NAME,
      held,
      bundle: () => state.bundle,
      alarm: message => void alarms.push(message),
    })
    const by = async () => {
      const { publicKey } = await keys.sign(utf8('a head'))
      return held.find(key => key.publicKey === publicKey)?.at
    }
    return { keys, by, alarms, state }
  }

  it('the first; the other at once when that is gone, told once, and back when the other is', async () => {
    const [one, two] = [newHeld('keystore'), newHeld('keystore.standby')]
    const { by, alarms } = open([one, two])
    expect([await by(), alarms]).toEqual(['keystore', []])
    one.isThere = false
    expect(await Promise.all([by(), by(), by()])).toEqual(Array(3).fill('keystore.standby'))
    const asked = one.asked
    expect([await by(), one.asked]).toEqual(['keystore.standby', asked])
    expect(alarms).toEqual([
      expect.stringMatching(
        /^the log key in keystore does not sign: keystore is gone\. That in keystore\.standby signs/,
      ),
    ])
    two.isThere = false
    await expect(by()).rejects.toMatchObject({ code: 'unavailable' })
    one.isThere = true
    expect([await by(), alarms.length]).toEqual(['keystore', 2])
  })

  it('none that the bundle does not name yet while there is one that it names, which nobody would believe', async () => {
    const [one, two] = [newHeld('keystore'), newHeld('keystore.standby')]
    const { by, state } = open([one, two], [one])
    one.isThere = false
    await expect(by()).rejects.toMatchObject({ code: 'unavailable', message: 'keystore is gone' })
    expect(two.asked).toBe(0)
    state.bundle = naming(one, two)
    expect(await by()).toBe('keystore.standby')
  })

  it('the first at the very first start, before there is a bundle', async () => {
    const { by } = open([newHeld('keystore'), newHeld('keystore.standby')], [])
    expect(await by()).toBe('keystore')
  })

  it('and those are believed that a keystore holds or the bundle names, a lost one too, and no other', () => {
    const [lost, held, other] = [newHeld('lost'), newHeld('keystore'), newHeld('other')]
    const { keys } = open([held], [lost])
    expect(keys.believed()).toEqual([lost.publicKey, held.publicKey])
    expect(keys.believed()).not.toContain(other.publicKey)
  })
})

describe('the next bundle names', () => {
  const names = (held: Held[], before?: Held[]) => {
    const { logKey, otherLogKeys = [] } = logKeysToName(
      { name: NAME, held: held.map(({ publicKey }) => publicKey) },
      before && naming(...before),
    )
    return [logKey.key, ...otherLogKeys]
  }
  const texts = (keys: Held[]) => keys.map(({ publicKey }) => toBase64(publicKey))

  it('what it named before, held or not, in that order, and what came since', () => {
    const [lost, one, two] = [newHeld('lost'), newHeld('one'), newHeld('two')]
    expect(names([one, two])).toEqual(texts([one, two]))
    expect(names([two, one], [one, two])).toEqual(texts([one, two]))
    expect(names([one, two], [lost, one])).toEqual(texts([lost, one, two]))
  })

  it('no more than a document holds: the oldest goes that no keystore has', () => {
    const many = Array.from({ length: MAX_LOG_KEYS }, (_, n) => newHeld(`${n}`))
    const [first, , ...others] = many
    if (!first) throw new Error('a key')
    const fresh = newHeld('new')
    expect(names([first, fresh], many)).toEqual(texts([first, ...others, fresh]))
  })
})

it('each keystore has its own, by one label; a log that is there gets no new one', async () => {
  const folder = fastFolder('keyman-log-keys-')
  const open = async (name: string) => ({
    name,
    keystore: await openKeystore({
      kind: 'software',
      folder: join(folder, name),
      unlock: { keyFile: join(folder, `${name}.key`) },
    }),
  })
  const both = [await open('one'), await open('two')]
  await expect(findLogKeys(both)).rejects.toMatchObject({ code: 'unavailable' })
  const made = await openLogKeys(both)
  expect(new Set(made.map(({ publicKey }) => toBase64(publicKey))).size).toBe(2)
  const texts = (keys: typeof made) => keys.map(({ at, publicKey }) => [at, toBase64(publicKey)])
  expect(texts(await findLogKeys(both))).toEqual(texts(made))
  for (const { keystore } of both) await keystore.close()
})
