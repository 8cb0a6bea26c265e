import { createHash } from 'node:crypto'
import { existsSync, watch } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { toHex, utf8 } from '#shared/bytes.ts'
import { verifies } from '#test/support/contract/keystore.ts'
import { buildShim, readSignatures, type ShimEnv, shimEnv, shimKeyId } from '#test/support/pkcs11-shim/index.ts'
import { findSoftHsm, type SoftHsm, startSoftHsm } from '#test/support/programs/softhsm.ts'
import { type Keystore, type KeystoreKey, openKeystore } from '../index.ts'
import { type Cryptoki, type Handle, loadCryptoki } from './binding.ts'
import { CKF } from './constants.ts'

const found = findSoftHsm()
const missing = 'missing' in found ? found.missing : ''
const text = utf8('a certificate to be signed')

/** Everything here goes through the counting module in front of SoftHSM. */
describe.skipIf(missing)(`behind the counting module${missing && `, skipped: ${missing}`}`, () => {
  let hsm: SoftHsm
  let env: ShimEnv
  let shim: string
  let keystore: Keystore
  let ed25519: KeystoreKey
  const config = () => ({ kind: 'pkcs11', module: shim, token: hsm.token, pin: hsm.pin }) as const
  const signatures = () => readSignatures(env.KEYMAN_SHIM_LOG)
  const logins = async () => (await readFile(env.KEYMAN_SHIM_LOGINS, 'utf8')).trimEnd().split('\n')

  beforeAll(async () => {
    hsm = await startSoftHsm()
    env = shimEnv(hsm.module, hsm.folder)
    Object.assign(process.env, env)
    shim = await buildShim()
    keystore = await openKeystore(config())
    ed25519 = await keystore.generateKey('authority', 'ed25519')
    await keystore.generateKey('machines', 'ecdsa-p256')
  })
  afterAll(async () => {
    await keystore?.close()
    await hsm?.close()
  })

  /** One signature that takes two seconds, and twenty that are asked for once it has begun: which ends last. */
  const overtaking = async (signer: Keystore): Promise<string | undefined> => {
    await writeFile(env.KEYMAN_SHIM_FAULT, 'delay 2000')
    // The token takes the file away as it begins.
    const begun = new Promise<void>(resolve => {
      const watcher = watch(hsm.folder, () => {
        if (existsSync(env.KEYMAN_SHIM_FAULT)) return
        watcher.close()
        resolve()
      })
    })
    const done: string[] = []
    const slow = signer.sign('authority', text).then(() => done.push('slow'))
    await begun
    await Promise.all(Array.from({ length: 20 }, () => signer.sign('authority', text).then(() => done.push('quick'))))
    await slow
    expect(done).toHaveLength(21)
    return done.at(-1)
  }

  it('every signature is in the log once, with its key and what was signed, before it is given out', async () => {
    const texts = Array.from({ length: 100 }, (_, n) => utf8(`certificate ${n}`))
    const before = (await signatures()).length
    await Promise.all(
      texts.map(async data => {
        await keystore.sign('authority', data)
        await keystore.sign('machines', data)
      }),
    )
    const counted = (await signatures()).slice(before)
    expect(counted).toHaveLength(200)
    const by = (label: string) => counted.filter(({ keyId }) => toHex(keyId) === shimKeyId(label))
    const sorted = (list: readonly Uint8Array[]) => list.map(toHex).sort()
    expect(sorted(by('authority').map(({ data }) => data))).toEqual(sorted(texts))
    const digests = texts.map(data => new Uint8Array(createHash('sha256').update(data).digest()))
    expect(sorted(by('machines').map(({ data }) => data))).toEqual(sorted(digests))
  })

  it('a signature that failed, and making, listing and wrapping, are not counted', async () => {
    const before = (await signatures()).length
    await keystore.sign('never-made', text).catch(() => undefined)
    await keystore.generateKey('uncounted', 'ecdsa-p256')
    await keystore.listKeys()
    await keystore.wrapDataKey('master', text, text)
    expect(await signatures()).toHaveLength(before)
  })

  // CKR_GENERAL_ERROR, DEVICE_ERROR, DEVICE_REMOVED, OBJECT_HANDLE_INVALID, SESSION_HANDLE_INVALID, TOKEN_NOT_PRESENT,
  // USER_NOT_LOGGED_IN, CRYPTOKI_NOT_INITIALIZED: each in the middle of a signature, among others that run.
  it.each([5, 48, 50, 130, 179, 224, 257, 400])(
    'CK_RV %i in the middle of a signature is recovered from',
    async code => {
      const loggedIn = (await logins()).length
      await writeFile(env.KEYMAN_SHIM_FAULT, `fail ${code}`)
      const all = await Promise.all(Array.from({ length: 40 }, () => keystore.sign('authority', text)))
      for (const signature of all) expect(verifies(ed25519, text, signature)).toBe(true)
      expect(existsSync(env.KEYMAN_SHIM_FAULT)).toBe(false)
      expect((await logins()).slice(loggedIn)).toEqual(['0']) // one recovery, whoever noticed it
    },
  )

  it('sessions that are closed under signatures that run, again and again, are recovered from', async () => {
    for (let round = 0; round < 30; round++) {
      const running = Array.from({ length: 40 }, () => keystore.sign('authority', text))
      await running[round]
      await writeFile(env.KEYMAN_SHIM_FAULT, 'close 0')
      running.push(...Array.from({ length: 40 }, () => keystore.sign('authority', text)))
      for (const signature of await Promise.all(running)) expect(verifies(ed25519, text, signature)).toBe(true)
      expect(existsSync(env.KEYMAN_SHIM_FAULT)).toBe(false)
    }
  })

  it('another CK_RV is told to its caller with its number, and to nobody else', async () => {
    await writeFile(env.KEYMAN_SHIM_FAULT, 'fail 112') // CKR_MECHANISM_INVALID
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => keystore.sign('authority', text)))
    const failed = results.filter(result => result.status === 'rejected')
    expect(failed).toHaveLength(1)
    expect(failed[0]?.reason).toMatchObject({ code: 'unavailable', message: expect.stringContaining('CK_RV 0x70') })
    // Its session may be stuck in the operation that failed: whoever gets it next does not notice.
    await Promise.all(Array.from({ length: 20 }, () => keystore.sign('authority', text)))
  })

  /** A faulty HSM, or one in which somebody provokes a fault: one signature of forty has a bit changed. */
  const withOneSpoilt = async (signer: Keystore, label: string) => {
    await writeFile(env.KEYMAN_SHIM_FAULT, 'spoil 40')
    const results = await Promise.allSettled(Array.from({ length: 40 }, () => signer.sign(label, text)))
    expect(existsSync(env.KEYMAN_SHIM_FAULT)).toBe(false)
    return results
  }

  it.each(['authority', 'machines'])('a signature by %s that is not valid is given to nobody', async label => {
    const [failed, ...more] = (await withOneSpoilt(keystore, label)).filter(({ status }) => status === 'rejected')
    expect(more).toEqual([])
    expect(failed).toMatchObject({
      reason: { code: 'unavailable', message: `the keystore gave a signature by ${label} that is not valid` },
    })
  })

  it('a slow signature holds up nobody who comes after it', async () => {
    expect(await overtaking(keystore)).toBe('slow')
  })

  describe('with a number of sessions, on threads of libuv', () => {
    let far: Keystore
    beforeAll(async () => {
      await keystore.close()
      far = await openKeystore({ ...config(), sessions: 4 })
    })
    afterAll(async () => {
      await far.close()
      keystore = await openKeystore(config())
    })

    it.each([5, 48, 179, 257])('CK_RV %i in the middle of a signature is recovered from', async code => {
      await writeFile(env.KEYMAN_SHIM_FAULT, `fail ${code}`)
      const all = await Promise.all(Array.from({ length: 40 }, () => far.sign('authority', text)))
      for (const signature of all) expect(verifies(ed25519, text, signature)).toBe(true)
    })

    it('a signature that is not valid is given to nobody', async () => {
      const results = await withOneSpoilt(far, 'authority')
      expect(results.filter(({ status }) => status === 'rejected')).toMatchObject([
        { reason: { code: 'unavailable', message: expect.stringContaining('not valid') } },
      ])
    })

    it('a slow signature holds up nobody who comes after it', async () => {
      expect(await overtaking(far)).toBe('slow')
    })
  })

  it('a PIN that was changed meanwhile is tried once, and never again until somebody opens the keystore anew', async () => {
    const other: Cryptoki = await loadCryptoki(shim)
    const slot = (): Handle => other.C_GetSlotList(true)[0] ?? Buffer.alloc(0)
    const session = other.C_OpenSession(slot(), CKF.SERIAL_SESSION | CKF.RW_SESSION)
    other.C_SetPIN(session, hsm.pin, 'another-pin')
    other.C_CloseAllSessions(slot())
    const before = (await logins()).length
    const away = { code: 'unavailable', message: expect.stringContaining('refused the PIN') }
    for (let n = 0; n < 3; n++) await expect(keystore.sign('authority', text)).rejects.toMatchObject(away)
    await expect(keystore.health()).rejects.toMatchObject({ code: 'unavailable' })
    expect((await logins()).slice(before)).toEqual(['160']) // CKR_PIN_INCORRECT, once
    await keystore.close()

    await expect(openKeystore(config())).rejects.toMatchObject({ code: 'denied' })
    expect((await logins()).slice(before)).toEqual(['160', '160'])
    keystore = await openKeystore({ ...config(), pin: 'another-pin' })
    expect(verifies(ed25519, text, await keystore.sign('authority', text))).toBe(true)
  })

  it('a log that ends in the middle of a line is not taken for a whole one', async () => {
    const log = join(hsm.folder, 'cut.log')
    await writeFile(log, `${shimKeyId('authority')} 00ff\n${shimKeyId('authority')} 00`)
    await expect(readSignatures(log)).rejects.toThrow('middle of a line')
  })
})
