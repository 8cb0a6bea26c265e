import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseHostName } from '#shared/names.ts'
import { pathOf, requires } from '#test/support/requires.ts'
import type { AgentConfig } from '../config.ts'
import { checkNotOverruled, configurationFiles, foreignSettings } from './config.ts'
import { dropInText, sshdFiles } from './files.ts'

let folder: string
let config: AgentConfig
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyman-sshd-config-'))
  mkdirSync(join(folder, 'sshd_config.d'))
  config = {
    version: 1,
    url: 'https://localhost:4443',
    organisation: 'acme',
    host: parseHostName('web1.example.com', 'host'),
    rootFingerprint: `SHA256:${'A'.repeat(43)}`,
    sshdFolder: join(folder, 'keyman'),
    dropIn: join(folder, 'sshd_config.d', 'keyman.conf'),
    sshdConfig: join(folder, 'sshd_config'),
    sshd: '/usr/sbin/sshd',
    sshKeygen: '/usr/bin/ssh-keygen',
    hostKeys: [join(folder, 'key.pub')],
    reload: { pidFile: join(folder, 'pid') },
  }
})
afterEach(() => rmSync(folder, { recursive: true }))

const write = (name: string, text: string) => writeFileSync(join(folder, name), text)
const writeDropIn = () => writeFileSync(config.dropIn, dropInText(config))
const INCLUDE = () => `Include ${folder}/sshd_config.d/*.conf\n`
const found = (when: 'now' | 'joined' = 'now') =>
  foreignSettings(config, when).map(({ keyword, value, where, block, ahead }) =>
    [`${keyword} ${value}`, where.slice(folder.length + 1), block, ahead ? 'ahead' : 'behind'].join(' | '),
  )

describe("somebody else's configuration of sshd", () => {
  it('is what says otherwise, by file and line, with its block, and whether it counts more than ours', () => {
    writeDropIn()
    write('sshd_config.d/10-site.conf', '# site\nMatch Address 10.0.0.0/8\n  RevokedKeys none\n')
    write('sshd_config.d/zz-site.conf', 'TrustedUserCAKeys /etc/ssh/other.pub\n')
    write('sshd_config', `${INCLUDE()}Port 22\nMatch User git\n  AuthorizedPrincipalsFile none\n`)
    expect(found()).toEqual([
      'RevokedKeys none | sshd_config.d/10-site.conf:3 | Match Address 10.0.0.0/8 | ahead',
      'TrustedUserCAKeys /etc/ssh/other.pub | sshd_config.d/zz-site.conf:1 |  | behind',
      'AuthorizedPrincipalsFile none | sshd_config:4 | Match User git | behind',
    ])
    expect(() => checkNotOverruled(config)).toThrow(/"RevokedKeys none" \(.*10-site.conf:3, in "Match Address/)
    rmSync(join(folder, 'sshd_config.d/10-site.conf'))
    expect(() => checkNotOverruled(config)).not.toThrow()
  })

  it('is read before this host joins as if the drop-in were there', () => {
    write('sshd_config.d/10-site.conf', 'Match User a\nRevokedKeys none\n')
    write('sshd_config.d/zz-site.conf', 'Match User b\nRevokedKeys none\n')
    write('sshd_config', INCLUDE())
    expect(found('joined')).toEqual([
      'RevokedKeys none | sshd_config.d/10-site.conf:2 | Match User a | ahead',
      'RevokedKeys none | sshd_config.d/zz-site.conf:2 | Match User b | behind',
    ])
  })

  it('counts more than a drop-in that lies in a block, or that is not as this agent writes it', () => {
    const later = 'Match User b\nRevokedKeys none\n'
    writeDropIn()
    write('sshd_config', `Match User a\nInclude ${config.dropIn}\n${later}`)
    expect(found()).toEqual(['RevokedKeys none | sshd_config:4 | Match User b | ahead'])
    write('sshd_config', `Match all\nInclude ${config.dropIn}\n${later}`)
    expect(found()).toEqual(['RevokedKeys none | sshd_config:4 | Match User b | behind'])
    writeFileSync(config.dropIn, `RevokedKeys ${sshdFiles(config).krl}\n`)
    expect(found()).toEqual(['RevokedKeys none | sshd_config:4 | Match User b | ahead'])
  })

  it('belongs to the block that includes it, and its own block ends with its file', () => {
    write('inner', 'RevokedKeys /inner\nMatch User inner\nRevokedKeys /own\n')
    write('sshd_config', `Match User outer\nInclude ${folder}/inner\nRevokedKeys /outer\n`)
    expect(found()).toEqual([
      'RevokedKeys /inner | inner:1 | Match User outer | ahead',
      'RevokedKeys /own | inner:3 | Match User inner | ahead',
      'RevokedKeys /outer | sshd_config:3 | Match User outer | ahead',
    ])
  })

  it('is asked for with the commands, which decide beside our files', () => {
    write('sshd_config', 'AuthorizedKeysCommand /opt/keys %u\n')
    expect(found()).toEqual(['AuthorizedKeysCommand /opt/keys %u | sshd_config:1 |  | ahead'])
    expect(() => checkNotOverruled(config)).not.toThrow()
    write('sshd_config', 'AuthorizedPrincipalsCommand /opt/principals %u\n')
    expect(() => checkNotOverruled(config)).toThrow(/"AuthorizedPrincipalsCommand .opt.principals %u"/)
    write('sshd_config', 'AuthorizedPrincipalsCommand none\n')
    expect(() => checkNotOverruled(config)).not.toThrow()
  })

  it('is read where a comment is not UTF-8', () => {
    writeFileSync(config.sshdConfig, Buffer.from('# f\xfcr git\nMatch User git\nRevokedKeys none\n', 'latin1'))
    expect(found()).toEqual(['RevokedKeys none | sshd_config:3 | Match User git | ahead'])
  })

  it('is said to be unread where a file of it cannot be read, or includes itself', () => {
    write('sshd_config', `Include ${folder}/sshd_config\n`)
    expect(found).toThrow(/nested too deep/)
    write('sshd_config', `Include ${folder}/a\\ b\n`)
    expect(found).toThrow(/sshd_config:1 says to sshd cannot be read/)
    write('sshd_config', `Include ${folder}/sshd_config.d\n`)
    expect(found).toThrow(/sshd_config.d says to sshd cannot be read/)
  })

  it('lies in files and folders that are looked at again whenever one of them changes', () => {
    writeDropIn()
    write('sshd_config', `${INCLUDE()}Include ${folder}/nothing ${folder}/nothing/*.conf\n`)
    const names = ['sshd_config', 'sshd_config.d', 'sshd_config.d/keyman.conf', 'nothing', 'nothing']
    expect(configurationFiles(config)).toEqual(names.map(name => join(folder, name)))
  })
})

describe.skipIf(!requires('sshd'))('a line of it, as a real sshd reads it', () => {
  /** What sshd says that it would use for a connection. */
  const sshdSays = () => {
    const key = join(folder, 'key')
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
    const connection = 'user=a,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22'
    const args = ['-T', '-C', connection, '-f', config.sshdConfig, '-h', key]
    return /^revokedkeys (.*)$/im.exec(execFileSync(pathOf('sshd'), args, { encoding: 'utf8' }))?.[1]
  }

  it.each([
    ['plain', 'RevokedKeys /q'],
    ['in another case, after blanks', '\t  REVOKEDkeys\t/q  \r'],
    ['with =', 'RevokedKeys=/q'],
    ['with = between blanks', 'RevokedKeys = /q'],
    ['with = before it', '=RevokedKeys /q'],
    ['with a quoted keyword', '"RevokedKeys" /q'],
    ['with a quoted value', 'RevokedKeys "/q"'],
    ['in a block with =', 'Match=all\nRevokedKeys /q'],
    ['included', 'Include FOLDER/included'],
    ['included, in quotes, as one of several', 'Include "FOLDER/incl*" FOLDER/nothing'],
    ['included by a link', 'Include FOLDER/link'],
    ['included by =', 'include=FOLDER/[i]nclude?'],
  ])('%s', (_, text) => {
    write('included', 'RevokedKeys /q\n')
    symlinkSync(join(folder, 'included'), join(folder, 'link'))
    write('sshd_config', `${text.replaceAll('FOLDER', folder)}\n`)
    expect(sshdSays()).toBe('/q')
    expect(foreignSettings(config, 'now').map(({ keyword, value }) => [keyword, value])).toEqual([
      ['RevokedKeys', '/q'],
    ])
  })

  it.each([
    ['a comment', '#RevokedKeys /q'],
    ['a comment after blanks', '  # RevokedKeys /q'],
    ['a comment behind an Include', 'Include FOLDER/nothing # FOLDER/included'],
  ])('is nothing where it is %s', (_, text) => {
    write('included', 'RevokedKeys /q\n')
    write('sshd_config', `${text.replaceAll('FOLDER', folder)}\n`)
    // What is not set is printed as none, or not at all (seen in 10.5).
    expect(sshdSays() ?? 'none').toBe('none')
    expect(foreignSettings(config, 'now')).toEqual([])
  })
})
