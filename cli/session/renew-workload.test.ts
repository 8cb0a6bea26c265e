import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { toHex } from '#shared/bytes.ts'
import { readNextKey, writeClient } from '../context/client-files.ts'
import { sessionFiles, type WorkloadSession } from '../context/context.ts'
import { writeFile } from '../context/files.ts'
import { folders, makeFolder, workloadsFolder } from '../context/folders.ts'
import { makeLoginKeys, privateKeyFile } from './keys.ts'
import { keysFor } from './renew-workload.ts'

const parent = mkdtempSync(join(tmpdir(), 'keyman-renew-workload-'))
afterAll(() => rmSync(parent, { recursive: true, force: true }))

const session: WorkloadSession = {
  ...{ workload: 'payments/prod/backup', session: 'session_0123456789', keyIn: 'file' },
  ...{ startedAt: '2030-01-01T00:00:00Z', endsAt: '2030-04-01T00:00:00Z' },
  ...{ clientStartsAt: '2030-01-01T00:00:00Z', clientEndsAt: '2030-01-08T00:00:00Z' },
}

describe('the next client key of a workload', () => {
  const keys = makeLoginKeys('keyman:acme')
  let files: ReturnType<typeof sessionFiles>
  beforeEach(() => {
    const home = mkdtempSync(join(parent, 'home-'))
    const places = folders({ HOME: home, XDG_RUNTIME_DIR: join(home, 'none') })
    makeFolder(join(workloadsFolder(places), 'acme'))
    files = sessionFiles(places, 'acme')
    writeFile(files.key, privateKeyFile(keys), 0o600)
    writeClient(files, { key: keys.client.pem, certificate: '-----BEGIN CERTIFICATE-----\n' })
  })
  const next = () => keysFor(files, session)

  it("is a new one, on the disk before anybody asks for it; the SSH key is the session's own", () => {
    const { ssh, client } = next()
    expect(toHex(ssh.publicKey.blob)).toBe(toHex(keys.ssh.publicKey.blob))
    expect(toHex(client.spki)).not.toBe(toHex(keys.client.spki))
    expect(readNextKey(files)).toBe(client.pem)
  })
  it('is the same one again for as long as no answer has come', () => {
    const first = next()
    expect(next().client.pem).toBe(first.client.pem)
    expect(readNextKey(files)).toBe(first.client.pem)
  })
  it('is another one once the answer lies here, also where its file was left behind', () => {
    const first = next()
    writeClient(files, { key: first.client.pem, certificate: '-----BEGIN CERTIFICATE-----\n' })
    writeFileSync(files.nextClientKey, first.client.pem)
    const second = next()
    expect(second.client.pem).not.toBe(first.client.pem)
    expect(readNextKey(files)).toBe(second.client.pem)
  })
  it('is not made anew where the pending one is damaged, or the SSH key is', () => {
    writeFileSync(files.nextClientKey, 'x')
    expect(next).toThrow('a key of workload:payments/prod/backup below')
    expect(readNextKey(files)).toBe('x')
    rmSync(files.nextClientKey)
    writeFileSync(files.key, 'x')
    expect(next).toThrow('a key of workload:payments/prod/backup below')
    expect(readNextKey(files)).toBeUndefined()
  })
})
