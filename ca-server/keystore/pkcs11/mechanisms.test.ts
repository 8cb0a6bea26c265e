import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { utf8 } from '#shared/bytes.ts'
import { buildShim, shimEnv } from '#test/support/pkcs11-shim/index.ts'
import { findSoftHsm, type SoftHsm, startSoftHsm } from '#test/support/programs/softhsm.ts'
import { type Keystore, openKeystore } from '../index.ts'
import { CKM } from './constants.ts'

const found = findSoftHsm()
const missing = 'missing' in found ? found.missing : ''

/** SoftHSM with some of its mechanisms hidden, as other modules have it. */
describe.skipIf(missing)(`a token without Edwards curves and AES-GCM${missing && `, skipped: ${missing}`}`, () => {
  let hsm: SoftHsm
  let keystore: Keystore
  beforeAll(async () => {
    hsm = await startSoftHsm()
    Object.assign(process.env, shimEnv(hsm.module, hsm.folder), {
      KEYMAN_SHIM_HIDE: [CKM.EC_EDWARDS_KEY_PAIR_GEN, CKM.EDDSA, CKM.AES_GCM].join(),
    })
    keystore = await openKeystore({ kind: 'pkcs11', module: await buildShim(), token: hsm.token, pin: hsm.pin })
  })
  afterAll(async () => {
    await keystore?.close()
    await hsm?.close()
  })

  it('offers what is left and says what it cannot', () => {
    expect(keystore.capabilities).toEqual({
      algorithms: ['ecdsa-p256', 'ecdsa-p384', 'rsa-3072', 'rsa-4096'],
      wrapsDataKeys: false,
      cannot: [
        'the token makes no ed25519 keys',
        expect.stringMatching(/wraps no data keys.* need the same log-keystore folder/),
      ],
    })
  })

  it('refuses the rest by name and tells its health with another algorithm', async () => {
    await expect(keystore.generateKey('log', 'ed25519')).rejects.toMatchObject({
      code: 'invalid-input',
      hint: expect.stringMatching(/^it offers ecdsa-p256, ecdsa-p384, rsa-3072, rsa-4096; authority\.algorithm/),
    })
    await expect(keystore.wrapDataKey('master', utf8('key'), utf8('place'))).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('AES-GCM'),
    })
    await keystore.health()
  })
})
