import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { sessionConnection } from '../trust/checkpoint.ts'
import {
  type Context,
  contextOfHost,
  damagedContexts,
  readableContexts,
  readContext,
  readSession,
  type Session,
  sessionFiles,
  writeContext,
  writeSession,
} from './context.ts'
import { folders } from './folders.ts'

/** What a crash of the disk or a hand has left in keyman's own files is named, with what to do. */
describe("keyman's own files, damaged", () => {
  const home = mkdtempSync(join(tmpdir(), 'keyman-own-files-'))
  const given = folders({
    HOME: home,
    XDG_CONFIG_HOME: join(home, 'c'),
    XDG_STATE_HOME: join(home, 's'),
    XDG_RUNTIME_DIR: home,
  })
  const context: Context = {
    organisation: 'acme',
    machinesUrl: 'https://localhost:4443',
    publicUrl: 'http://localhost:4480',
    rootFingerprint: 'SHA256:x',
    bundle: { document: '{}', signatures: [] },
    bundleVersion: 1,
    machinesRoot: '',
    logKey: { name: 'acme', key: '' },
    hostAuthorities: [],
    hostSuffixes: [],
    hosts: [],
  }
  const session: Session = {
    person: 'alice@example.com',
    session: 'session_1',
    owner: false,
    startedAt: '2026-11-25T10:00:00Z',
    endsAt: '2026-11-25T18:00:00Z',
    passkeys: 1,
    clientEndsAt: '2026-11-25T18:00:00Z',
    keyIn: 'file',
  }
  const files = sessionFiles(given, 'acme')
  const contextFile = join(given.config, 'contexts', 'acme.json')
  beforeAll(() => {
    writeContext(given, context)
    writeSession(given, 'acme', session)
  })
  afterAll(() => rmSync(home, { recursive: true, force: true }))

  it('are read where they are whole', () => {
    expect(readContext(given, 'acme')).toEqual(context)
    expect(readSession(given, 'acme')).toEqual(session)
  })
  it.each(['', '{', 'null', '[]', '7', '{}', '{"organisation":"../../x"}', JSON.stringify({ ...context, hosts: {} })])(
    'a context of %s',
    text => {
      writeFileSync(contextFile, text)
      expect(() => readContext(given, 'acme')).toThrow(`${contextFile} is damaged`)
    },
  )
  it('a context that is damaged takes nothing from the others, and is named', () => {
    writeFileSync(contextFile, '{')
    writeContext(given, { ...context, organisation: 'other', hostSuffixes: ['other.example'] })
    expect(readableContexts(given).map(({ organisation }) => organisation)).toEqual(['other'])
    expect(damagedContexts(given)).toEqual(['acme'])
    expect(contextOfHost(given, 'web1.other.example')?.organisation).toBe('other')
    rmSync(join(given.config, 'contexts', 'other.json'))
  })
  it.each(['', '{', 'null', '[]', '{}', JSON.stringify({ ...session, ssh: {} })])('a session of %s', text => {
    writeFileSync(files.session, text)
    expect(() => readSession(given, 'acme')).toThrow(`${files.session} is damaged`)
  })
  it('a client key or certificate that is none', () => {
    const { key, cert } = newMachineAuthority().client('keyman://acme/person/alice@example.com/session/session_1')
    mkdirSync(files.folder, { recursive: true })
    const write = (keyText: string, certificateText: string) => {
      writeFileSync(files.clientKey, keyText)
      writeFileSync(files.clientCertificate, certificateText)
    }
    write(key, cert)
    expect(sessionConnection(given, context).client).toEqual({ key, certificate: cert })
    for (const [one, other] of [
      ['{', cert],
      [key, 'null'],
      [newMachineAuthority().server().key, cert],
    ]) {
      write(one ?? '', other ?? '')
      expect(() => sessionConnection(given, context)).toThrow('damaged')
    }
  })
})
