import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { asTyped } from '../calls/host-argument.ts'
import { folders } from '../context/folders.ts'
import { aliasesPath, checkAlias, readAliases, shortNames, writeAliases } from './aliases.ts'

let home: string
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'keyman-aliases-'))
})
afterAll(() => rmSync(home, { recursive: true, force: true }))

const places = () => folders({ HOME: home })

describe('aliases', () => {
  it('stand one a line in a file that a person can write too, and a line that is none says nothing', () => {
    writeAliases(places(), [
      { alias: 'w1', host: 'web1.prod.example.com' },
      { alias: '192.0.2.7', host: 'db1.prod.example.com' },
    ])
    expect(readFileSync(aliasesPath(places()), 'utf8')).toBe(
      '192.0.2.7 db1.prod.example.com\nw1 web1.prod.example.com\n',
    )
    writeFileSync(
      aliasesPath(places()),
      '# mine\n\n* a.example.com\nx\n W a.example.com\nw1\tweb1.prod.example.com\na b c\n',
    )
    expect(readAliases(places())).toEqual([{ alias: 'w1', host: 'web1.prod.example.com' }])
    writeAliases(places(), [])
    expect(readAliases(places())).toEqual([])
  })
  it('are for hosts of an organisation that is known here, and never the name of another host', () => {
    const contexts = join(places().config, 'contexts')
    mkdirSync(contexts, { recursive: true })
    const context = {
      organisation: 'acme',
      machinesUrl: 'https://keys.example.com:4443',
      publicUrl: 'https://keys.example.com',
      rootFingerprint: 'SHA256:x',
      machinesRoot: '',
      bundle: { document: '', signatures: [] },
      logKey: { name: 'x', key: '' },
      hostAuthorities: [],
      hostSuffixes: ['prod.example.com'],
      hosts: [{ name: 'web1.prod.example.com', logins: ['alice'] }],
    }
    writeFileSync(join(contexts, 'acme.json'), JSON.stringify(context))
    const check = (alias: string, host: string) => () => checkAlias(places(), { alias, host })
    expect(check('w1', 'web1.prod.example.com')).not.toThrow()
    expect(check('db.prod.example.com', 'db1.prod.example.com')).not.toThrow()
    expect(check('2001:db8::7', 'web1.prod.example.com')).not.toThrow()
    expect(check('w1', 'github.com')).toThrow('no organisation that is known here answers for github.com')
    expect(check('web1.prod.example.com', 'db1.prod.example.com')).toThrow('is the name of a host already')
    // On the machine of a server with a demo host it is taken (`test/e2e/newcomer.test.ts`).
    expect(check('demo', 'db1.prod.example.com')).not.toThrow()
    for (const bad of ['*', 'a b', 'w1\nHost *', '%h', '!w1', ''])
      expect(check(bad, 'web1.prod.example.com'), bad).toThrow("is neither a host's name nor an address")
  })
  it('short names are those of one host alone, and none that the person has already or that is this machine', () => {
    const hosts = ['web1.prod.example.com', 'web1.eu.example.com', 'db1.prod.example.com', 'git.prod.example.com']
    const taken = (name: string) => name === 'git'
    expect(shortNames([...hosts, ...hosts], taken)).toEqual([{ alias: 'db1', host: 'db1.prod.example.com' }])
    expect(shortNames(['localhost.evil.example'], () => false)).toEqual([])
  })
  it('a name is the same in capitals and with a dot at the end', () => {
    expect(asTyped('WEB1.Prod.Example.COM.')).toBe('web1.prod.example.com')
  })
})
