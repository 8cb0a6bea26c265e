import { createDecipheriv, createPrivateKey, createPublicKey, hkdfSync } from 'node:crypto'
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { fromBase64, toBase64, utf8 } from '#shared/bytes.ts'
import { keystoreContract } from '#test/support/contract/keystore.ts'
import { openKeystore } from './index.ts'

const base = mkdtempSync(join(tmpdir(), 'keyman-keystore-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))
const place = (name: string) => join(base, name)
const byFile = (name: string, keyFile = place(`${name}.key`)) =>
  ({ kind: 'software', folder: place(name), unlock: { keyFile } }) as const
const open = (name: string) => openKeystore(byFile(name))
const text = utf8('text')

describe('a software keystore opened by a key file', () => {
  keystoreContract({
    config: () => byFile('contract'),
    wrong: () => {
      writeFileSync(place('wrong.key'), `${'00'.repeat(32)}\n`, { mode: 0o600 })
      return byFile('contract', place('wrong.key'))
    },
    algorithms: ['ed25519', 'ecdsa-p256', 'ecdsa-p384', 'rsa-3072'],
    sizes: { ed25519: 64, 'ecdsa-p256': 64, 'ecdsa-p384': 96, 'rsa-3072': 384 },
  })
})

describe('a software keystore', () => {
  it('keeps no private key in the clear, in files that only its user may read', async () => {
    const keystore = await open('at-rest')
    const key = await keystore.generateKey('secret', 'ed25519')
    await keystore.wrapDataKey('master', text, text)
    await keystore.close()

    const folder = place('at-rest')
    expect(statSync(folder).mode & 0o777).toBe(0o700)
    expect(statSync(place('at-rest.key')).mode & 0o777).toBe(0o600)
    expect(readdirSync(folder).sort()).toEqual(['master.master.json', 'secret.signing.json', 'unlock.json'])
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600)

    // The private key itself, opened here by hand, to look for it in every shape.
    const parse = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
    const { salt } = parse('unlock.json')
    const wrapping = hkdfSync('sha256', readFileSync(place('at-rest.key')), fromBase64(salt), 'keyman-keystore-v1', 32)
    const { version, label, algorithm, spki, sealed } = parse('secret.signing.json')
    const bytes = fromBase64(sealed)
    const decipher = createDecipheriv('aes-256-gcm', new Uint8Array(wrapping), bytes.subarray(1, 13))
    decipher.setAAD(utf8(JSON.stringify([version, label, algorithm, spki]))).setAuthTag(bytes.subarray(-16))
    const pkcs8 = Buffer.concat([decipher.update(bytes.subarray(13, -16)), decipher.final()])
    const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
    expect(new Uint8Array(createPublicKey(privateKey).export({ format: 'der', type: 'spki' }))).toEqual(key.spki)
    const seed = pkcs8.subarray(-32)
    for (const name of readdirSync(folder)) {
      const content = readFileSync(join(folder, name))
      for (const shape of [
        seed,
        seed.toString('hex'),
        pkcs8.toString('base64'),
        seed.toString('base64'),
        'PRIVATE KEY',
      ])
        expect(content.includes(shape)).toBe(false)
    }
  })

  it.each([
    ['a sealed key', (file: Stored) => ({ ...file, sealed: flip(file.sealed) })],
    ['a public key', (file: Stored, other: Stored) => ({ ...file, spki: other.spki })],
    ['a label', (file: Stored) => ({ ...file, label: 'renamed' })],
    ['a field that was added', (file: Stored) => ({ ...file, extra: true })],
  ])('refuses a key file in which %s was changed, and goes on using the others', async (what, change) => {
    const name = `tampered-${what.replaceAll(' ', '-')}`
    const keystore = await open(name)
    await keystore.generateKey('one', 'ecdsa-p256')
    await keystore.generateKey('two', 'ecdsa-p256')
    await keystore.close()
    const path = (label: string) => join(place(name), `${label}.signing.json`)
    const read = (label: string): Stored => JSON.parse(readFileSync(path(label), 'utf8'))
    writeFileSync(path('one'), JSON.stringify(change(read('one'), read('two'))))
    const again = await open(name)
    const refusal = { code: 'unavailable', message: expect.stringContaining('changed or damaged') }
    await expect(again.sign('one', text)).rejects.toMatchObject(refusal)
    await expect(again.listKeys()).rejects.toMatchObject(refusal)
    await again.sign('two', text)
    await again.close()
  })

  it('refuses a key file that was put in the place of another', async () => {
    const keystore = await open('swapped')
    await keystore.generateKey('one', 'ed25519')
    await keystore.close()
    renameSync(join(place('swapped'), 'one.signing.json'), join(place('swapped'), 'two.signing.json'))
    const again = await open('swapped')
    await expect(again.sign('two', text)).rejects.toMatchObject({ code: 'unavailable' })
    await again.close()
  })

  it('does not use a folder, a key file or a file in it that others may read, and says what to do', async () => {
    const keystore = await open('modes')
    await keystore.generateKey('one', 'ed25519')
    await keystore.close()
    for (const [path, wide, right] of [
      [place('modes'), 0o750, 0o700],
      [place('modes.key'), 0o640, 0o600],
      [join(place('modes'), 'unlock.json'), 0o604, 0o600],
    ] as const) {
      chmodSync(path, wide)
      const hint = expect.stringContaining(`chmod ${right.toString(8)} ${path}`)
      await expect(open('modes')).rejects.toMatchObject({ code: 'unavailable', hint })
      chmodSync(path, right)
    }
    const again = await open('modes')
    chmodSync(join(place('modes'), 'one.signing.json'), 0o644)
    await expect(again.sign('one', text)).rejects.toMatchObject({ code: 'unavailable' })
    chmodSync(join(place('modes'), 'one.signing.json'), 0o600)
    await again.sign('one', text)
    await again.close()
  })

  it('follows no symbolic link to its key file', async () => {
    await (await open('linked')).close()
    renameSync(place('linked.key'), place('elsewhere.key'))
    symlinkSync(place('elsewhere.key'), place('linked.key'))
    await expect(open('linked')).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('makes no new key file, and no new unlock.json, where there are keys already', async () => {
    const keystore = await open('lost')
    await keystore.generateKey('one', 'ed25519')
    await keystore.close()
    renameSync(place('lost.key'), place('lost.away'))
    await expect(open('lost')).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('missing'),
    })
    renameSync(place('lost.away'), place('lost.key'))
    rmSync(join(place('lost'), 'unlock.json'))
    await expect(open('lost')).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('missing'),
    })
  })

  it('opens by its passphrase and by no other, nor by a key file', async () => {
    const by = (passphrase: string) =>
      openKeystore({ kind: 'software', folder: place('phrase'), unlock: { passphrase } })
    const keystore = await by('correct horse battery')
    const key = await keystore.generateKey('one', 'ed25519')
    await keystore.close()
    await expect(by('correct horse batterz')).rejects.toMatchObject({ code: 'denied' })
    await expect(by('')).rejects.toMatchObject({ code: 'denied' })
    await expect(open('phrase')).rejects.toMatchObject({ code: 'denied' })
    const again = await by('correct horse battery')
    expect(await again.listKeys()).toEqual([key])
    await again.close()
  })

  it('opens by a systemd credential of mode 0440, and not where everybody may read it or it is short', async () => {
    const credential = place('credential')
    const by = () => openKeystore({ kind: 'software', folder: place('systemd'), unlock: { credential } })
    await expect(by()).rejects.toMatchObject({ code: 'unavailable' })
    writeFileSync(credential, 'short', { mode: 0o440 })
    await expect(by()).rejects.toMatchObject({ code: 'unavailable', hint: 'openssl rand -hex 32' })
    rmSync(credential)
    writeFileSync(credential, '5a'.repeat(32), { mode: 0o440 })
    const keystore = await by()
    await keystore.generateKey('one', 'ed25519')
    await keystore.close()
    chmodSync(credential, 0o444)
    await expect(by()).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('shares its folder with another that opens it at the same moment', async () => {
    const both = await Promise.all([open('shared'), open('shared')])
    const [first, second] = both
    const key = await first.generateKey('one', 'ed25519')
    expect(await second.listKeys()).toEqual([key])
    await expect(second.generateKey('one', 'ed25519')).rejects.toMatchObject({ code: 'conflict' })
    const wrapped = await first.wrapDataKey('master', text, text)
    expect(await second.unwrapDataKey('master', wrapped, text)).toEqual(text)
    await Promise.all(both.map(keystore => keystore.close()))
  })
})

type Stored = { label: string; spki: string; sealed: string }
const flip = (base64: string) => {
  const bytes = fromBase64(base64)
  return toBase64(bytes.map((byte, at) => (at === bytes.length - 1 ? byte ^ 1 : byte)))
}
