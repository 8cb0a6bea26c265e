import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { utf8 } from '#shared/bytes.ts'
import { verifies } from '#test/support/contract/keystore.ts'
import { initToken, type SoftHsm, startSoftHsm } from '#test/support/programs/softhsm.ts'
import { pathOf, requires } from '#test/support/requires.ts'
import { openKeystore } from '../index.ts'
import { loadCryptoki } from './binding.ts'
import { CKF } from './constants.ts'

const text = utf8('a certificate to be signed')

describe.skipIf(!requires('softhsm', 'p11-kit'))("SoftHSM behind p11-kit's proxy", () => {
  let hsm: SoftHsm
  beforeAll(async () => {
    hsm = await startSoftHsm('behind-proxy')
  })
  afterAll(() => hsm?.close())
  const open = (module: string) => openKeystore({ kind: 'pkcs11', module, token: hsm.token, pin: hsm.pin })

  it('signs, though it takes each signing thread for another caller, and says that the module itself is better', async () => {
    const keystore = await open(pathOf('p11-kit'))
    const key = await keystore.generateKey('authority', 'ed25519')
    for (let n = 0; n < 3; n++) expect(verifies(key, text, await keystore.sign('authority', text))).toBe(true)
    await keystore.health()
    expect(keystore.capabilities.cannot.join()).toMatch(/p11-kit's proxy.*keystore\.module/)
    await keystore.close()
    const itself = await open(hsm.module)
    expect(itself.capabilities.cannot).toEqual([])
    expect(verifies(key, text, await itself.sign('authority', text))).toBe(true)
    await itself.close()
  })
})

describe.skipIf(!requires('softokn'))('NSS softokn', () => {
  let folder: string
  const library = { parameters: '' }
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'keyman-softokn-'))
    // Its last character counts.
    library.parameters = `certPrefix='' keyPrefix='' secmod='secmod.db' flags=optimizeSpace configdir=sql:${folder}`
    // A new database whose PIN nobody has set: the security officer's is empty.
    const nss = await loadCryptoki(pathOf('softokn'))
    nss.C_Initialize({ flags: CKF.OS_LOCKING_OK, libraryParameters: `${library.parameters} ` })
    const slot = nss.C_GetSlotList(true).find(each => nss.C_GetTokenInfo(each).label.startsWith('NSS Certificate DB'))
    const session = nss.C_OpenSession(slot ?? Buffer.alloc(8), CKF.SERIAL_SESSION | CKF.RW_SESSION)
    nss.C_Login(session, 0, '')
    nss.C_InitPIN(session, 'pin of softokn')
    nss.C_Finalize()
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))
  const open = (libraryParameters?: string) =>
    openKeystore({
      kind: 'pkcs11',
      module: pathOf('softokn'),
      token: 'NSS Certificate DB',
      pin: 'pin of softokn',
      ...(libraryParameters === undefined ? {} : { libraryParameters }),
    })

  it('signs with its folder in library_parameters; what it does not make names authority.algorithm', async () => {
    const keystore = await open(library.parameters)
    const key = await keystore.generateKey('authority', 'ecdsa-p256')
    expect(verifies(key, text, await keystore.sign('authority', text))).toBe(true)
    await expect(keystore.generateKey('other', 'ed25519')).rejects.toMatchObject({
      message: 'this keystore makes no ed25519 keys',
      hint: expect.stringMatching(/it offers ecdsa-p256.*authority\.algorithm/),
    })
    await keystore.close()
  })

  it('without library_parameters it says that they are what is missing', async () => {
    await expect(open()).rejects.toMatchObject({
      message: expect.stringContaining('the module does not take how it is called'),
      hint: expect.stringContaining('keystore.library_parameters'),
      fields: [{ field: 'library_parameters' }],
    })
  })
})

describe.skipIf(!requires('softhsm'))('a module or token that is not as it is named', () => {
  let hsm: SoftHsm
  let folder: string
  beforeAll(async () => {
    hsm = await startSoftHsm('there')
    folder = await mkdtemp(join(tmpdir(), 'keyman-modules-'))
  })
  afterAll(async () => {
    await hsm?.close()
    await rm(folder, { recursive: true, force: true })
  })
  const opened = (other: { module?: string; token?: string; pin?: string }) =>
    openKeystore({ kind: 'pkcs11', module: hsm.module, token: hsm.token, pin: hsm.pin, ...other })
  const field = (name: string) => [expect.objectContaining({ field: name })]

  it('is named with the setting, why, and what to do', async () => {
    const text = join(folder, 'text.so')
    await writeFile(text, 'no library')
    const library = join(folder, 'library.so')
    await copyFile('/lib/x86_64-linux-gnu/libz.so.1', library).catch(() => writeFile(library, ''))
    for (const [module, why] of [
      [join(folder, 'none.so'), 'there is no such file'],
      [text, 'it is no library for this machine'],
      [library, 'no PKCS#11 module|no library'],
    ] as const)
      await expect(opened({ module })).rejects.toMatchObject({
        message: expect.stringMatching(why),
        hint: expect.stringContaining('keystore.module'),
        fields: field('module'),
      })
    await expect(opened({ token: 'thre' })).rejects.toMatchObject({ hint: 'it has "there"', fields: field('token') })
    await expect(opened({ pin: 'wrong-pin' })).rejects.toMatchObject({
      code: 'denied',
      hint: expect.stringContaining('keystore.pin_file'),
      fields: field('pin'),
    })
    await (await opened({})).close()
  })

  it('two tokens of one name: neither is taken', async () => {
    await initToken(hsm.module, 'twin', '11112222')
    await initToken(hsm.module, 'twin', '11112222')
    await expect(opened({ token: 'twin', pin: '11112222' })).rejects.toMatchObject({ fields: field('token') })
  })
})
