import { createPublicKey, randomBytes, verify } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type KeyAlgorithm,
  type Keystore,
  type KeystoreConfig,
  openKeystore,
  QUEUE_BOUND,
} from '#server/keystore/index.ts'
import { utf8 } from '#shared/bytes.ts'

const HASHES = {
  ed25519: null,
  'ecdsa-p256': 'sha256',
  'ecdsa-p384': 'sha384',
  'rsa-3072': 'sha512',
  'rsa-4096': 'sha512',
} as const

/** By Node alone, and not by the code under test. */
export function verifies(key: { algorithm: KeyAlgorithm; spki: Uint8Array }, data: Uint8Array, signature: Uint8Array) {
  const publicKey = createPublicKey({ key: Buffer.from(key.spki), format: 'der', type: 'spki' })
  return verify(HASHES[key.algorithm], data, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature)
}

/**
 * What every adapter has to do. `config` opens a keystore that is empty at first; `wrong` is the same with a wrong secret.
 * `algorithms` are those that this one must offer, one after the other made and used.
 */
export function keystoreContract(given: {
  readonly config: () => KeystoreConfig
  readonly wrong: () => KeystoreConfig
  readonly algorithms: readonly KeyAlgorithm[]
  readonly sizes: Readonly<Partial<Record<KeyAlgorithm, number>>>
}): void {
  let keystore: Keystore
  const text = utf8('a certificate to be signed')
  beforeAll(async () => {
    keystore = await openKeystore(given.config())
  })
  afterAll(() => keystore.close())

  it('says what it can do, and in remarks what it cannot', () => {
    expect(keystore.capabilities.algorithms).toEqual(expect.arrayContaining([...given.algorithms]))
    for (const remark of keystore.capabilities.cannot) expect(remark).toMatch(/^[a-z].*[^.]$/)
  })

  describe.each(given.algorithms)('an %s key', algorithm => {
    const label = `contract:${algorithm}`

    it('is made, and signs what Node verifies', async () => {
      const key = await keystore.generateKey(label, algorithm)
      expect(key).toMatchObject({ label, algorithm })
      const signature = await keystore.sign(label, text)
      expect(verifies(key, text, signature)).toBe(true)
      expect(verifies(key, utf8('another text'), signature)).toBe(false)
      const size = given.sizes[algorithm]
      if (size !== undefined) expect(signature).toHaveLength(size)
    })

    it('signs a short text and a large one, and no empty one', async () => {
      const key = (await keystore.listKeys()).find(listed => listed.label === label)
      for (const data of [Uint8Array.of(0), new Uint8Array(randomBytes(100_000))])
        expect(key && verifies(key, data, await keystore.sign(label, data))).toBe(true)
      await expect(keystore.sign(label, new Uint8Array())).rejects.toMatchObject({ code: 'invalid-input' })
    })

    it('is not made twice under one label, and is still the same key', async () => {
      const before = await keystore.listKeys()
      await expect(keystore.generateKey(label, algorithm)).rejects.toMatchObject({ code: 'conflict' })
      expect(await keystore.listKeys()).toEqual(before)
    })
  })

  it('gives two labels two keys: a signature by one does not verify by the other, and none is made where the other is meant', async () => {
    const [a, b] = await Promise.all(
      ['other-a', 'other-b'].map(label => keystore.generateKey(label, given.algorithms[0] ?? 'ed25519')),
    )
    const signature = await keystore.sign('other-a', text, a?.spki)
    await expect(keystore.sign('other-a', text, b?.spki)).rejects.toMatchObject({ code: 'unavailable' })
    expect(a && verifies(a, text, signature)).toBe(true)
    expect(b && verifies(b, text, signature)).toBe(false)
  })

  it('makes one key where one label is asked for ten times at the same moment', async () => {
    const results = await Promise.allSettled(
      Array.from({ length: 10 }, () => keystore.generateKey('raced', given.algorithms[0] ?? 'ed25519')),
    )
    expect(results.filter(result => result.status === 'fulfilled')).toHaveLength(1)
    for (const result of results)
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'conflict' })
    expect((await keystore.listKeys()).filter(key => key.label === 'raced')).toHaveLength(1)
  })

  it('knows no key that was not made', async () => {
    await expect(keystore.sign('never-made', text)).rejects.toMatchObject({ code: 'not-found' })
    await expect(keystore.sign('Not/a label', text)).rejects.toMatchObject({ code: 'invalid-input' })
    await expect(keystore.sign('__proto__', text)).rejects.toMatchObject({ code: 'invalid-input' })
  })

  it.each(['', 'Upper', '../up', 'a/b', 'a b', 'a\n', '.hidden', 'ä', 'x'.repeat(64)])(
    'refuses the label %j',
    async label => {
      await expect(keystore.generateKey(label, 'ecdsa-p256')).rejects.toMatchObject({ code: 'invalid-input' })
    },
  )

  it('answers its health with a key of its own, which it neither lists nor gives away', async () => {
    await Promise.all([keystore.health(), keystore.health()])
    await keystore.health()
    expect((await keystore.listKeys()).map(key => key.label)).not.toContain('health')
    await expect(keystore.generateKey('health', 'ecdsa-p256')).rejects.toMatchObject({ code: 'conflict' })
  })

  it('signs 200 texts at once, each its own', async () => {
    const key = await keystore.generateKey('busy', 'ecdsa-p256')
    const texts = Array.from({ length: 200 }, (_, n) => utf8(`text ${n}`))
    const signatures = await Promise.all(texts.map(data => keystore.sign('busy', data)))
    texts.forEach((data, n) => {
      expect(verifies(key, data, signatures[n] ?? new Uint8Array())).toBe(true)
    })
  })

  it('refuses with a time to come back when more wait than its bound, and signs those it took', async () => {
    const tries = 200
    await keystore.sign('busy', text)
    const all = Promise.allSettled(Array.from({ length: QUEUE_BOUND + tries }, () => keystore.sign('busy', text)))
    await Promise.resolve()
    const results = await all
    const refused = results.filter(result => result.status === 'rejected')
    expect(refused.length).toBeGreaterThan(0)
    expect(refused.length).toBeLessThanOrEqual(tries)
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'unavailable', retryAfter: 1 })
    await keystore.sign('busy', text)
  })

  describe('a wrapped data key', () => {
    const dataKey = new Uint8Array(randomBytes(32))
    const place = utf8('tenant/path/version-1')

    it('opens again with the same associated data', async () => {
      const wrapped = await keystore.wrapDataKey('master', dataKey, place)
      expect(Buffer.from(wrapped).includes(dataKey)).toBe(false)
      expect(await keystore.unwrapDataKey('master', wrapped, place)).toEqual(dataKey)
      const other = await keystore.wrapDataKey('master', dataKey, place)
      expect(other).not.toEqual(wrapped)
    })

    it('does not open at another place, under another master key, or with any byte changed or missing', async () => {
      const wrapped = await keystore.wrapDataKey('master', dataKey, place)
      await keystore.wrapDataKey('master-2', dataKey, place)
      const denied = { code: 'denied' }
      await expect(keystore.unwrapDataKey('master', wrapped, utf8('tenant/path/version-2'))).rejects.toMatchObject(
        denied,
      )
      await expect(keystore.unwrapDataKey('master', wrapped, new Uint8Array())).rejects.toMatchObject(denied)
      await expect(keystore.unwrapDataKey('master-2', wrapped, place)).rejects.toMatchObject(denied)
      for (const at of wrapped.keys()) {
        const changed = wrapped.map((byte, n) => (n === at ? byte ^ 1 : byte))
        await expect(keystore.unwrapDataKey('master', changed, place)).rejects.toMatchObject(denied)
      }
      for (const length of [0, 1, 12, 28, wrapped.length - 1])
        await expect(keystore.unwrapDataKey('master', wrapped.slice(0, length), place)).rejects.toMatchObject(denied)
      expect(await keystore.unwrapDataKey('master', wrapped, place)).toEqual(dataKey)
    })

    it('is never a reason to make a master key when it is opened', async () => {
      const wrapped = await keystore.wrapDataKey('master', dataKey, place)
      for (let round = 0; round < 2; round++)
        await expect(keystore.unwrapDataKey('no-master', wrapped, place)).rejects.toMatchObject({ code: 'not-found' })
    })

    it('needs one master key only where many ask for it first at the same moment', async () => {
      const all = await Promise.all(
        Array.from({ length: 20 }, () => keystore.wrapDataKey('master-raced', dataKey, place)),
      )
      for (const wrapped of all) expect(await keystore.unwrapDataKey('master-raced', wrapped, place)).toEqual(dataKey)
    })
  })

  it('has the same keys after it was closed and opened again, and refuses while it is closed', async () => {
    const place = utf8('reopening')
    const before = await keystore.listKeys()
    const wrapped = await keystore.wrapDataKey('master', utf8('data key'), place)
    await keystore.close()
    await keystore.close()
    await expect(keystore.sign('busy', text)).rejects.toMatchObject({ code: 'unavailable' })
    await expect(keystore.listKeys()).rejects.toMatchObject({ code: 'unavailable' })
    keystore = await openKeystore(given.config())
    expect(await keystore.listKeys()).toEqual(before)
    for (const key of before) expect(verifies(key, text, await keystore.sign(key.label, text))).toBe(true)
    expect(await keystore.unwrapDataKey('master', wrapped, place)).toEqual(utf8('data key'))
    await keystore.health()
  })

  it('does not open with a wrong secret, and opens with the right one afterwards', async () => {
    await keystore.close()
    await expect(openKeystore(given.wrong())).rejects.toMatchObject({ code: 'denied' })
    keystore = await openKeystore(given.config())
    await keystore.sign('busy', text)
  })
}
