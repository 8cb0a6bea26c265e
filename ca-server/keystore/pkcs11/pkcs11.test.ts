import { execFile } from 'node:child_process'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { utf8 } from '#shared/bytes.ts'
import { keystoreContract, verifies } from '#test/support/contract/keystore.ts'
import { findSoftHsm, initToken, type SoftHsm, startSoftHsm } from '#test/support/programs/softhsm.ts'
import { type Keystore, openKeystore } from '../index.ts'
import { type Cryptoki, type Handle, loadCryptoki } from './binding.ts'
import { CKA, CKF, CKK, CKM, CKO } from './constants.ts'
import { idOf } from './objects.ts'

const found = findSoftHsm()
const missing = 'missing' in found ? found.missing : ''
const text = utf8('a certificate to be signed')
let hsm: SoftHsm
beforeAll(async () => {
  if (missing) return
  hsm = await startSoftHsm()
  await initToken(hsm.module, 'far', '11112222')
})
afterAll(() => hsm?.close())
const config = () => ({ kind: 'pkcs11', module: hsm.module, token: hsm.token, pin: hsm.pin }) as const

describe.skipIf(missing)(`a PKCS#11 keystore on SoftHSM${missing && `, skipped: ${missing}`}`, () => {
  keystoreContract({
    config,
    wrong: () => ({ ...config(), pin: 'wrong-pin' }),
    algorithms: ['ed25519', 'ecdsa-p256', 'ecdsa-p384', 'rsa-3072'],
    sizes: { ed25519: 64, 'ecdsa-p256': 64, 'ecdsa-p384': 96, 'rsa-3072': 384 },
  })
})

describe.skipIf(missing)('the same with a number of sessions, as for an HSM that is far away', () => {
  const far = () => ({ ...config(), token: 'far', pin: '11112222', sessions: 4 }) as const
  keystoreContract({
    config: far,
    wrong: () => ({ ...far(), pin: 'wrong-pin' }),
    algorithms: ['ed25519', 'ecdsa-p256'],
    sizes: { ed25519: 64, 'ecdsa-p256': 64 },
  })
})

describe.skipIf(missing)('keys on a token', () => {
  let keystore: Keystore
  let other: Cryptoki
  let session: Handle
  const slot = () => {
    const there = other.C_GetSlotList(true).find(each => other.C_GetTokenInfo(each).label.trimEnd() === hsm.token)
    if (!there) throw new Error('no slot')
    return there
  }
  /** Another binding in this process: it shares the module's state, so it can take sessions and login away. */
  beforeAll(async () => {
    keystore = await openKeystore(config())
    other = await loadCryptoki(hsm.module)
    session = other.C_OpenSession(slot(), CKF.SERIAL_SESSION | CKF.RW_SESSION)
  })
  afterAll(() => keystore.close())

  const only = (objectClass: number, label: string): Handle => {
    other.C_FindObjectsInit(session, [
      { type: CKA.CLASS, value: objectClass },
      { type: CKA.ID, value: idOf(label) },
    ])
    const handles = other.C_FindObjects(session, 10)
    other.C_FindObjectsFinal(session)
    expect(handles).toHaveLength(1)
    return handles[0] ?? Buffer.alloc(0)
  }
  const flags = (handle: Handle, types: readonly number[]) =>
    types.map(type => other.C_GetAttributeValue(session, handle, [{ type }])[0]?.value[0])

  it('are private, sensitive, not extractable and not modifiable, and their value is not given', async () => {
    await keystore.generateKey('guarded', 'ecdsa-p256')
    await keystore.wrapDataKey('guarded', text, text)
    for (const [objectClass, valueType] of [
      [CKO.PRIVATE_KEY, 0x11],
      [CKO.SECRET_KEY, 0x11],
    ] as const) {
      const handle = only(objectClass, 'guarded')
      const wanted = [CKA.TOKEN, CKA.PRIVATE, CKA.SENSITIVE, CKA.EXTRACTABLE, CKA.MODIFIABLE]
      expect(flags(handle, wanted)).toEqual([1, 1, 1, 0, 0])
      // CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_LOCAL: made there, never otherwise.
      expect(flags(handle, [0x165, 0x164, 0x163])).toEqual([1, 1, 1])
      expect(() => other.C_GetAttributeValue(session, handle, [{ type: valueType }])).toThrow()
      expect(() => other.C_SetAttributeValue(session, handle, [{ type: CKA.EXTRACTABLE, value: true }])).toThrow()
    }
    const label = other.C_GetAttributeValue(session, only(CKO.PRIVATE_KEY, 'guarded'), [{ type: CKA.LABEL }])
    expect(label[0]?.value.toString()).toBe('guarded')
  })

  const foreignPair = (label: string, extractable: boolean) =>
    other.C_GenerateKeyPair(
      session,
      { mechanism: CKM.EC_KEY_PAIR_GEN },
      [
        { type: CKA.TOKEN, value: true },
        { type: CKA.ID, value: idOf(label) },
        { type: CKA.LABEL, value: label },
        { type: CKA.EC_PARAMS, value: Buffer.from('06082a8648ce3d030107', 'hex') },
      ],
      [
        { type: CKA.TOKEN, value: true },
        { type: CKA.PRIVATE, value: true },
        { type: CKA.ID, value: idOf(label) },
        { type: CKA.LABEL, value: label },
        { type: CKA.SIGN, value: true },
        { type: CKA.SENSITIVE, value: !extractable },
        { type: CKA.EXTRACTABLE, value: extractable },
      ],
    )

  it('are not used where two have the same CKA_ID', async () => {
    for (let n = 0; n < 2; n++) foreignPair('doubled', false)
    const message = expect.stringContaining('more than one key doubled')
    await expect(keystore.sign('doubled', text)).rejects.toMatchObject({ code: 'unavailable', message })
    await expect(keystore.generateKey('doubled', 'ecdsa-p256')).rejects.toMatchObject({ code: 'unavailable' })
    removeAll('doubled')
  })

  it('are not used where they could be taken out of the token', async () => {
    foreignPair('loose', true)
    const message = expect.stringContaining('could be taken out')
    await expect(keystore.sign('loose', text)).rejects.toMatchObject({ code: 'unavailable', message })
    removeAll('loose')
  })

  it('are listed without the keys of others on the same token', async () => {
    const before = await keystore.listKeys()
    const foreign = other.C_CreateObject(session, [
      { type: CKA.CLASS, value: CKO.SECRET_KEY },
      { type: CKA.KEY_TYPE, value: CKK.AES },
      { type: CKA.TOKEN, value: true },
      { type: CKA.LABEL, value: 'somebody else' },
      { type: 0x11, value: Buffer.alloc(32, 1) },
    ])
    const pair = foreignPair('theirs', false)
    other.C_SetAttributeValue(session, pair.privateKey, [{ type: CKA.ID, value: Buffer.from('01', 'hex') }])
    expect(await keystore.listKeys()).toEqual(before)
    for (const handle of [foreign, pair.privateKey, pair.publicKey]) other.C_DestroyObject(session, handle)
  })

  const removeAll = (label: string) => {
    other.C_FindObjectsInit(session, [{ type: CKA.ID, value: idOf(label) }])
    const handles = other.C_FindObjects(session, 10)
    other.C_FindObjectsFinal(session)
    for (const handle of handles) other.C_DestroyObject(session, handle)
  }

  it('sign again by themselves after all sessions were closed, for everybody who was waiting', async () => {
    const key = await keystore.generateKey('survivor', 'ed25519')
    const wrapped = await keystore.wrapDataKey('survivor', text, text)
    for (let round = 0; round < 3; round++) {
      other.C_CloseAllSessions(slot())
      const signatures = await Promise.all(Array.from({ length: 50 }, () => keystore.sign('survivor', text)))
      for (const signature of signatures) expect(verifies(key, text, signature)).toBe(true)
      other.C_CloseAllSessions(slot())
      expect(await keystore.unwrapDataKey('survivor', wrapped, text)).toEqual(text)
      other.C_CloseAllSessions(slot())
      await keystore.health()
      other.C_CloseAllSessions(slot())
      expect((await keystore.listKeys()).some(({ label }) => label === 'survivor')).toBe(true)
    }
  })

  it('sign again after the module was finalized by another part of the process', async () => {
    other.C_Finalize()
    await keystore.sign('survivor', text)
  })

  it('are away while the token is, say so at once, and come back with it', async () => {
    const tokens = join(hsm.folder, 'tokens')
    const lost = slot()
    await rename(tokens, `${tokens}.away`)
    other.C_CloseAllSessions(lost)
    const gone = { code: 'unavailable', retryAfter: expect.any(Number) }
    const waiting = Promise.allSettled(Array.from({ length: 20 }, () => keystore.sign('survivor', text)))
    for (const result of await waiting) {
      expect(result).toMatchObject({ status: 'rejected', reason: gone })
    }
    await expect(keystore.health()).rejects.toMatchObject({ code: 'unavailable' })
    await rename(`${tokens}.away`, tokens)
    await vi.waitFor(() => keystore.sign('survivor', text), { timeout: 10_000, interval: 50 })
    await keystore.health()
  })
})

describe.skipIf(missing)('opening a token', () => {
  it('names what there is where the token is not, and says which module is not', async () => {
    await expect(openKeystore({ ...config(), token: 'nowhere' })).rejects.toMatchObject({
      code: 'unavailable',
      hint: expect.stringContaining(`"${hsm.token}"`),
    })
    await expect(openKeystore({ ...config(), module: '/nonexistent.so' })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('/nonexistent.so'),
    })
  })

  it('refuses a label that two tokens have', async () => {
    for (let n = 0; n < 2; n++) await initToken(hsm.module, 'twin', '12345678')
    await expect(openKeystore({ ...config(), token: 'twin', pin: '12345678' })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('more than one token'),
    })
  })

  it('gives an active and a standby keystore in one module, which recover together', async () => {
    await initToken(hsm.module, 'standby', '87654321')
    const active = await openKeystore(config())
    const standby = await openKeystore({ ...config(), token: 'standby', pin: '87654321' })
    const key = await standby.generateKey('standby-key', 'ed25519')
    expect((await active.listKeys()).map(({ label }) => label)).not.toContain('standby-key')
    const other = await loadCryptoki(hsm.module)
    for (const slot of other.C_GetSlotList(true)) other.C_CloseAllSessions(slot)
    await Promise.all([active.health(), standby.health(), active.sign('survivor', text)])
    await active.close()
    expect(verifies(key, text, await standby.sign('standby-key', text))).toBe(true)
    await standby.close()
  })

  it('works for four processes that log in at the same moment', async () => {
    const script = `
      const { openKeystore } = await import('#server/keystore/index.ts')
      for (let n = 0; n < 5; n++) {
        const keystore = await openKeystore(${JSON.stringify(config())})
        await keystore.sign('survivor', new Uint8Array(10))
        await keystore.close()
      }`
    const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { env: process.env })
    const results = await Promise.allSettled(Array.from({ length: 4 }, run))
    expect(results.filter(result => result.status === 'rejected')).toEqual([])
  })
})
