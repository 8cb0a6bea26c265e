import { execFileSync } from 'node:child_process'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { api } from '#shared/api/index.ts'
import { encodeTrustDocument, parseTrustDocument, type TrustBundle } from '#shared/trust/index.ts'
import { confirm, enrol, page } from '#test/support/people/api-person.ts'
import { type Laptop, openLaptop } from '#test/support/people/laptop.ts'
import { SERVER } from '#test/support/programs/programs.ts'
import { type ServerProcess, startServerProcess } from '#test/support/programs/server-process.ts'
import { newKey } from '#test/support/trust-world.ts'

/**
 * Whoever took the server over, and not the root of trust, hands the next document to those who sign. The real CLI holds it
 * against what is pinned on the signer's own machine.
 */
let server: ServerProcess
let laptop: Laptop
let root: string
const inHome = (name: string) => join(laptop.home, name)
const keyman = (...args: string[]) => laptop.keyman(args)

beforeAll(async () => {
  server = await startServerProcess()
  laptop = await openLaptop(server.folder, server.env, { agent: false })
  const alice = await enrol(server, server.ownerLink(), 'alice@example.com')
  const signedIn = await laptop.keyman(['login', '--yes', '--ssh-config', 'no', '--for', '8h'], async url => {
    const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
    const { options } = await page(server, api.login.consentOptions, { params })
    const body = { assertion: alice.authenticator.get(options) }
    await fetch((await page(server, api.login.consent, { params, body })).redirectTo ?? '')
  })
  expect(signedIn.code, signedIn.stderr).toBe(0)
  laptop.sitting = url => confirm(server, alice, new URL(url).pathname.split('/').at(-1) ?? '')
  // From now on the root lies elsewhere: the server signs nothing by itself.
  root = inHome('root_key')
  renameSync(join(server.dataFolder, 'root', 'root_key'), root)
})
afterAll(async () => {
  await laptop?.close()
  await server?.close()
})

/** What the server would have signed, as the attacker changed it, in a file; signed by the root, as a signer who looks at nothing does. */
async function handed(change: (bundle: TrustBundle) => Partial<TrustBundle>): Promise<string> {
  const file = inHome('next.json')
  const { code, stderr } = await keyman('trust', 'sign', '--out', file)
  expect(code, stderr).toBe(0)
  const bundle = parseTrustDocument(readFileSync(file, 'utf8'))
  writeFileSync(file, encodeTrustDocument({ ...bundle, ...change(bundle) }))
  return file
}
function sign(file: string, key = root): string[] {
  const signature = execFileSync('ssh-keygen', ['-q', '-Y', 'sign', '-n', 'keyman-trust', '-f', key], {
    input: readFileSync(file),
    encoding: 'utf8',
  })
  const to = `${file}.${Math.random().toString(36).slice(2)}.sig`
  writeFileSync(to, signature)
  return ['--signature', to]
}
const publish = (file: string, ...more: string[]) => keyman('trust', 'sign', '--in', file, ...sign(file), ...more)
const version = async () => JSON.parse((await keyman('trust', 'show', '--json')).stdout).version

describe('a document that was changed on its way to those who sign', () => {
  const stranger = newKey()
  const mallory: readonly (readonly [string, string, (bundle: TrustBundle) => Partial<TrustBundle>])[] = [
    [
      'its own root beside ours',
      'roots',
      ({ roots }) => ({ roots: { threshold: 1, keys: [...roots.keys, stranger.line] } }),
    ],
    ['its own root alone', 'roots', () => ({ roots: { threshold: 1, keys: [stranger.line] } })],
    ['another history', 'incarnation', () => ({ incarnation: 'forged' })],
    ['another address', 'addresses', () => ({ machinesUrl: 'https://evil.example.com' })],
    [
      "another organisation's hosts",
      'host-suffixes',
      ({ hostSuffixes }) => ({ hostSuffixes: [...hostSuffixes, 'evil.example'] }),
    ],
    [
      'another log',
      'log-key',
      ({ logKey }) => ({ logKey: { ...logKey, key: Buffer.alloc(32, 7).toString('base64') } }),
    ],
  ]
  it.each(mallory)('with %s is shown and refused: nobody named the change', async (_, change, by) => {
    const file = await handed(by)
    for (const refused of [await keyman('trust', 'show', '--next', file), await publish(file)]) {
      expect(refused.code).toBe(4)
      expect(refused.stderr).toContain(`changes what nobody named: ${change}`)
    }
    expect(await version()).toBe(1)
  })

  it('with an authority key of its own is refused where nobody can be asked, and where the keystore does not list it', async () => {
    const file = await handed(({ ssh }) => ({
      ssh: { ...ssh, userAuthorities: [...ssh.userAuthorities, { key: stranger.line, state: 'retired' }] },
    }))
    const shown = await keyman('trust', 'show', '--next', file)
    expect([shown.code, shown.stderr]).toEqual([
      0,
      expect.stringMatching(/ssh-user key SHA256:\S+ added \(retired\)\n/),
    ])
    expect((await publish(file)).stderr).toContain('nobody can be asked whether it is meant: ssh-user key')
    const refused = await publish(file, '--authority-list', authorityList())
    expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining('the keystore does not hold SHA256:')])
    expect(await version()).toBe(1)
  })

  it('of another version, or another organisation, is refused', async () => {
    expect((await publish(await handed(() => ({ version: 7 })))).stderr).toContain('does not come next after 1')
    expect((await publish(await handed(() => ({ organisation: 'evil' })))).stderr).toContain('another organisation')
    expect(await version()).toBe(1)
  })

  it('is published where it is as the server gave it', async () => {
    const file = await handed(() => ({}))
    expect((await keyman('trust', 'show', '--next', file)).stderr).toMatch(
      /trust bundle 2, after version 1.*\n {2}no change/,
    )
    const published = await publish(file)
    expect([published.code, published.stderr]).toEqual([0, expect.stringContaining('Published version 2')])
  })
})

/** What the operator carries over from the keystore. */
function authorityList(): string {
  const main = SERVER
  const printed = execFileSync(process.execPath, [main, 'authority', 'list', '--json'], {
    env: server.env,
    encoding: 'utf8',
  })
  const file = inHome('authorities.json')
  writeFileSync(file, printed)
  return file
}

describe('what the server itself would change', () => {
  it('is signed only where it was named', async () => {
    server.env.KEYMAN_HOST_SUFFIXES = 'keyman.localhost,more.example.com'
    await server.stop()
    await server.restart()
    const refused = await keyman('trust', 'sign', '--root-key', root)
    expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining('--change host-suffixes')])
    const signed = await keyman('trust', 'sign', '--root-key', root, '--change', 'host-suffixes')
    expect([signed.code, signed.stderr]).toEqual([0, expect.stringContaining('Published version 3')])
  })

  it('of authority keys is signed only where the keystore lists them, whatever the server says', async () => {
    const before = authorityList()
    const old = inHome('before.json')
    renameSync(before, old)
    server.env.KEYMAN_KEYSTORE_STANDBY_KIND = 'software'
    await server.stop()
    await server.restart()
    const signing = ['trust', 'sign', '--root-key', root, '--change', 'log-key']
    const unnamed = await keyman('trust', 'sign', '--root-key', root, '--authority-list', authorityList())
    expect([unnamed.code, unnamed.stderr]).toEqual([
      4,
      expect.stringMatching(/changes what nobody named: log-key \(SHA256:\S+ added\)/),
    ])
    const blind = await keyman(...signing)
    expect([blind.code, blind.stderr]).toEqual([2, expect.stringContaining('nobody can be asked')])
    const refused = await keyman(...signing, '--authority-list', old)
    expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining('the keystore does not hold')])
    const list = authorityList()
    expect(JSON.parse(readFileSync(list, 'utf8')).keys).toContainEqual(
      expect.objectContaining({ label: 'ssh-user-2', state: 'unpublished', keystore: 'keystore.standby (software)' }),
    )
    const signed = await keyman(...signing, '--authority-list', list)
    expect(signed.stderr).toMatch(
      /ssh-user key SHA256:\S+ added \(standby\), in keystore.standby \(software\) as ssh-user-2\n/,
    )
    expect(signed.stderr).toMatch(/log key SHA256:\S+ added, in keystore.standby \(software\) as log-1\n/)
    expect([signed.code, signed.stderr]).toEqual([0, expect.stringContaining('Published version 4')])
    const shown = (await keyman('trust', 'show')).stdout.match(/log key +SHA256:\S+/g) ?? []
    const listed: { purpose: string; fingerprint: string }[] = JSON.parse(readFileSync(authorityList(), 'utf8')).keys
    expect(shown.map(line => line.split(/ +/).at(-1)).toSorted()).toEqual(
      listed.flatMap(({ purpose, fingerprint }) => (purpose === 'log' ? [fingerprint] : [])).toSorted(),
    )
    expect(shown).toHaveLength(2)
    expect(readFileSync(authorityList(), 'utf8')).not.toContain('unpublished')
  })
})

describe('a root that is handed on', () => {
  const made = (name: string): string => {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', inHome(name)])
    return inHome(name)
  }
  it('to keys of which one has not signed stays where it is, whatever the threshold is', async () => {
    const [one, two] = [made('one'), made('two')]
    const move = [
      'trust',
      'move-root',
      '--to',
      `${one}.pub`,
      '--to',
      `${two}.pub`,
      '--threshold',
      '1',
      '--root-key',
      root,
    ]
    const refused = await keyman(...move, '--root-key', one)
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('a root that is added has not signed')])
    expect(await version()).toBe(4)
    const moved = await keyman(...move, '--root-key', one, '--root-key', two)
    expect([moved.code, moved.stderr]).toEqual([0, expect.stringContaining('Published version 5')])
  })

  it('without the old one is none: a quorum of the new ones is not enough', async () => {
    const three = made('three')
    const move = ['trust', 'move-root', '--to', `${three}.pub`, '--root-key', three]
    const refused = await keyman(...move, '--root-key', root)
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("today's root of trust needs 1")])
    const moved = await keyman(...move, '--root-key', inHome('two'))
    expect([moved.code, moved.stderr]).toEqual([0, expect.stringContaining('Published version 6')])
  })
})
