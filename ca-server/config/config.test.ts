import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'
import { KeymanError } from '#shared/errors.ts'
import { type Environment, loadConfig, parseConfig, type ServerConfig } from './index.ts'

const folder = mkdtempSync(join(tmpdir(), 'keyman-config-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const secrets: Record<string, string> = { '/etc/keyman/pin': '1234-pin', '/etc/keyman/password': 'p@ss/wörd' }
const surroundings = {
  home: '/home/u',
  readSecret: (path: string) => {
    const text = secrets[path]
    if (text === undefined) throw new Error("can't be used: there is no such file")
    return text
  },
}
const read = (text: string, env: Environment = {}): ServerConfig =>
  parseConfig(text, env, '/etc/keyman/server.toml', surroundings)
function refused(text: string, env: Environment = {}): KeymanError {
  try {
    read(text, env)
  } catch (error) {
    if (error instanceof KeymanError) return error
    throw error
  }
  throw new Error('the configuration was accepted')
}
const problems = (text: string, env: Environment = {}) => refused(text, env).fields.map(f => `${f.field}: ${f.message}`)
const hsm = '[keystore]\nkind = "pkcs11"\nmodule = "/usr/lib/p11.so"\ntoken = "keyman"\npin_file = "pin"\n'

describe('the configuration', () => {
  it('has defaults for everything: loopback, embedded database, software keys', () => {
    expect(parseConfig('', {}, undefined, surroundings)).toEqual({
      organisation: 'local',
      publicUrl: 'http://localhost:4480',
      pages: { listen: { host: '127.0.0.1', port: 4480 }, proxyProtocolFrom: [] },
      machines: {
        listen: { host: '127.0.0.1', port: 4443 },
        proxyProtocolFrom: [],
        url: 'https://localhost:4443',
        names: ['localhost', '127.0.0.1', '::1'],
      },
      dataFolder: '/home/u/.local/state/keyman-server',
      hostSuffixes: ['keyman.localhost'],
      trustedProxies: [],
      database: { engine: 'pglite', folder: '/home/u/.local/state/keyman-server/database' },
      keystore: {
        kind: 'software',
        folder: '/home/u/.local/state/keyman-server/keystore',
        unlock: { keyFile: '/home/u/.local/state/keyman-server/keystore.key' },
      },
      limits: { strangersPerMinute: 240, assertionsPerMinute: 10, callersPerMinute: 600 },
      authority: { algorithm: 'ed25519' },
      trust: {},
      session: { maxLifetime: 43_200 },
      certificate: { defaultLifetime: 28_800 },
    })
  })

  it('honours XDG_STATE_HOME, if it is absolute', () => {
    expect(read('', { XDG_STATE_HOME: '/state' }).dataFolder).toBe('/state/keyman-server')
    expect(read('', { XDG_STATE_HOME: 'state' }).dataFolder).toBe('/home/u/.local/state/keyman-server')
  })

  it('takes a variable over the file', () => {
    const text = '[pages]\nlisten = "127.0.0.1:5000"\n'
    expect(read(text).pages.listen.port).toBe(5000)
    expect(read(text).publicUrl).toBe('http://localhost:5000')
    expect(read(text, { KEYMAN_PAGES_LISTEN: '[::1]:6000' }).pages.listen).toEqual({ host: '::1', port: 6000 })
    expect(read('', { KEYMAN_HOST_SUFFIXES: 'a.example.com, b.example.com' }).hostSuffixes).toEqual([
      'a.example.com',
      'b.example.com',
    ])
    expect(read(hsm, { KEYMAN_KEYSTORE_SESSIONS: '8' }).keystore).toMatchObject({ sessions: 8 })
    expect(read('', { KEYMAN_LIMITS_STRANGERS_PER_MINUTE: '600' }).limits.strangersPerMinute).toBe(600)
  })

  it('takes paths relative to its file, from the home with ~/, and from a variable only absolute', () => {
    expect(read('data_folder = "data"').dataFolder).toBe('/etc/keyman/data')
    expect(read('data_folder = "~/data"').dataFolder).toBe('/home/u/data')
    expect(problems('', { KEYMAN_DATA_FOLDER: 'data' })).toEqual([
      'data_folder: "data" must be an absolute path (variable KEYMAN_DATA_FOLDER)',
    ])
  })

  it('names key, line and what is allowed, for every problem at once', () => {
    expect(
      problems('organisation = "Acme Inc"\n\n[pages]\nlisten = "4480"\n\n[authority]\nalgorithm = "rsa"\n'),
    ).toEqual([
      'organisation: "Acme Inc" must be a short name: lower-case letters, digits and -, at most 63 characters (/etc/keyman/server.toml line 1)',
      'pages.listen: "4480" must be an address and a port such as 127.0.0.1:4480 or [::]:4480 (/etc/keyman/server.toml line 4)',
      'authority.algorithm: "rsa" must be "ed25519" or "ecdsa-p256" (/etc/keyman/server.toml line 7)',
    ])
    expect(problems('organisation = 7')[0]).toMatch(/^organisation: must be a short name.*line 1\)$/)
    expect(problems('host_suffixes = [\n  "a.example.com",\n  "com",\n]')[0]).toMatch(
      /^host_suffixes: "com" must be .*two labels.*line 1\)$/,
    )
    expect(problems('pages = { listen = "x" }')[0]).toMatch(/^pages\.listen: .*line 1\)$/)
    expect(problems('', { KEYMAN_PAGES_LISTEN: 'x' })[0]).toMatch(/\(variable KEYMAN_PAGES_LISTEN\)$/)
  })

  it('refuses unknown keys and misspelt variables, and says what was meant', () => {
    expect(problems('[pages]\nlisen = "127.0.0.1:1"\n')).toEqual([
      'pages.lisen: there is no such setting; did you mean pages.listen? (/etc/keyman/server.toml line 2)',
    ])
    expect(problems('[nonsense]\n')).toEqual(['nonsense: there is no such setting (/etc/keyman/server.toml line 1)'])
    expect(problems('[[pages]]\nlisten = "127.0.0.1:1"')[0]).toMatch(/^pages: there is no such setting/)
    expect(problems('["__proto__"]\nx = 1')[0]).toMatch(/^__proto__\.x: there is no such setting/)
    expect(problems('', { KEYMAN_PAGES_LISEN: 'x' })).toEqual([
      '"KEYMAN_PAGES_LISEN": there is no such variable; did you mean KEYMAN_PAGES_LISTEN?',
    ])
    expect(() => read('', { KEYMAN_CONTEXT: 'acme', KEYMAN_DEBUG: '1' })).not.toThrow()
  })

  it('names the line of broken TOML and repeats nothing of the text around it', () => {
    const error = refused('a = "topsecret"\nb = = 1\n')
    expect(error.message).toContain('/etc/keyman/server.toml line 2')
    expect(error.message).not.toContain('topsecret')
  })
})

describe('public_url', () => {
  it.each([
    ['public_url = "http://keyman.example.com"', 'must begin with https://'],
    ['public_url = "https://keyman.example.com"', 'needs pages.tls_certificate'],
    ['public_url = "https://192.0.2.1"\n[pages]\ntls_certificate = "c"\ntls_key = "k"', 'must have a DNS name'],
    ['public_url = "http://localhost:4480/login"', 'nothing after it'],
    ['public_url = "http://u:p@localhost:4480"', 'nothing after it'],
    ['public_url = "ftp://localhost"', 'must be an address such as'],
    ['public_url = "http://localhost"\n[pages]\nlisten = "0.0.0.0:4480"', 'must be a loopback address'],
    ['[pages]\nlisten = "0.0.0.0:4480"', 'must be set where pages.listen is not a loopback'],
    ['public_url = "https://a.example.com"\n[pages]\ntls_certificate = "c"', 'needs pages.tls_key'],
  ])('is refused in %j: %s', (text, message) => expect(problems(text).join('\n')).toContain(message))

  it('is https with certificate files, or behind a trusted proxy on this machine', () => {
    const tls = '[pages]\nlisten = "0.0.0.0:443"\ntls_certificate = "c.pem"\ntls_key = "k.pem"'
    expect(read(`public_url = "https://keyman.example.com"\n${tls}`)).toMatchObject({
      publicUrl: 'https://keyman.example.com',
      pages: { tls: { certificateFile: '/etc/keyman/c.pem', keyFile: '/etc/keyman/k.pem' } },
    })
    const proxy = 'trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]\npublic_url = "https://keyman.example.com"'
    expect(read(proxy).trustedProxies).toEqual(['127.0.0.1', '10.0.0.0/8'])
    expect(problems('trusted_proxies = ["10.0.0.0/33"]')[0]).toMatch(/^trusted_proxies/)
    const balancer = '[machines]\nproxy_protocol_from = ["192.0.2.10"]'
    expect(read(balancer).machines.proxyProtocolFrom).toEqual(['192.0.2.10'])
    expect(problems(balancer.replace('10"', '10/33"'))[0]).toMatch(/^machines\.proxy_protocol_from/)
  })
})

describe('limits', () => {
  it('are whole numbers a minute', () => {
    expect(
      read('[limits]\nstrangers_per_minute = 600\nassertions_per_minute = 30\ncallers_per_minute = 90\n').limits,
    ).toEqual({
      strangersPerMinute: 600,
      assertionsPerMinute: 30,
      callersPerMinute: 90,
    })
    expect(problems('[limits]\nstrangers_per_minute = 0\nassertions_per_minute = "many"\n')).toEqual([
      'limits.strangers_per_minute: must be 1 to 1000000 (/etc/keyman/server.toml line 2)',
      'limits.assertions_per_minute: "many" must be a whole number of 1 to 1000000 (/etc/keyman/server.toml line 3)',
    ])
  })
})

describe('machines, sessions and certificates', () => {
  it('have the host of machines.url among the names', () => {
    expect(problems('[machines]\nurl = "https://ca.example.com:4443"\nnames = ["localhost"]')[0]).toContain(
      'ca.example.com',
    )
    expect(read('[machines]\nurl = "https://ca.example.com:4443"').machines.names).toEqual(['ca.example.com'])
    expect(problems('[machines]\nurl = "http://ca.example.com"')[0]).toContain('must be an address such as https://')
    expect(problems('[machines]\nnames = ["*.example.com"]')[0]).toContain('exact DNS name')
  })

  it('last no longer than their session', () => {
    expect(read('session.max_lifetime = "4h"').certificate.defaultLifetime).toBe(4 * 3600)
    expect(problems('session.max_lifetime = "4h"\ncertificate.default_lifetime = "8h"')[0]).toContain(
      'must not be longer',
    )
    expect(problems('session.max_lifetime = "soon"')[0]).toContain('5m to 30d')
    expect(problems('session.max_lifetime = "400d"')[0]).toContain('5m to 30d')
  })
})

describe('secrets', () => {
  const url = 'postgres://keyman@db.example.com/keyman'

  it('several hosts of a database stay in their order, with the password put in', () => {
    const { database } = read(
      '[database]\nurl = "postgresql://keyman@db1.example.com:5432,db2.example.com:5433/keyman"\npassword_file = "password"\n',
    )
    expect(database.engine === 'postgresql' && database.url.reveal()).toBe(
      'postgresql://keyman:p%40ss%2Fw%C3%B6rd@db1.example.com:5432,db2.example.com:5433/keyman',
    )
  })
  it('come from files or variables', () => {
    const { keystore, database } = read(`${hsm}[database]\nurl = "${url}"\npassword_file = "password"\n`)
    expect(keystore.kind === 'pkcs11' && keystore.pin.reveal()).toBe('1234-pin')
    expect(database.engine === 'postgresql' && decodeURIComponent(new URL(database.url.reveal()).password)).toBe(
      'p@ss/wörd',
    )
    const byVariable = read(hsm.replace('pin_file = "pin"\n', ''), { KEYMAN_KEYSTORE_PIN: '99' }).keystore
    expect(byVariable.kind === 'pkcs11' && byVariable.pin.reveal()).toBe('99')
  })

  it('may not stand in the file', () => {
    expect(problems(`${hsm}pin = "4711"`).join()).toContain('a secret may not stand in the file')
    expect(problems(`${hsm}pin = "4711"`).join()).not.toContain('4711')
    const withPassword = problems('[database]\nurl = "postgres://keyman:hunter2@db/keyman"').join()
    expect(withPassword).toContain('a password may not stand in the file')
    expect(withPassword).not.toContain('hunter2')
    const broken = problems('', { KEYMAN_DATABASE_URL: 'mysql://keyman:hunter2@db/keyman' }).join()
    expect(broken).toContain('postgresql://')
    expect(broken).not.toContain('hunter2')
  })

  it('show themselves neither in JSON nor in inspection', () => {
    const config = read(hsm, { KEYMAN_DATABASE_URL: 'postgres://keyman:hunter2@db/keyman' })
    for (const shown of [
      JSON.stringify(config),
      inspect(config, { depth: 9, showHidden: true }),
      `${Object.values(config)}`,
    ]) {
      expect(shown).not.toMatch(/hunter2|1234-pin/)
    }
  })

  it('whose file is missing are named by setting and file', () => {
    expect(problems(hsm.replace('"pin"', '"nopin"'))).toEqual([
      "keystore.pin_file: /etc/keyman/nopin can't be used: there is no such file (/etc/keyman/server.toml line 5)",
    ])
  })
})

describe('the keystore', () => {
  it('refuses a software standby beside an HSM, and takes one of the same class', () => {
    expect(problems(`${hsm}[keystore.standby]\nkind = "software"\n`).join()).toContain(
      'keystore.standby.kind: must be "pkcs11"',
    )
    const standby =
      '[keystore.standby]\nkind = "pkcs11"\nmodule = "/usr/lib/p11.so"\ntoken = "other"\npin_file = "pin"\n'
    expect(read(hsm + standby).standbyKeystore).toMatchObject({ kind: 'pkcs11', token: 'other' })
  })

  it('wants what its kind needs and refuses what belongs to the other', () => {
    const found = problems('[keystore]\nkind = "pkcs11"\nkey_file = "k"\n').join('\n')
    for (const part of [
      'keystore.module: must be set',
      'keystore.token: must be set',
      'keystore.pin_file: must be set',
      'keystore.key_file: does not belong',
    ]) {
      expect(found).toContain(part)
    }
    expect(problems('[keystore]\nkey_file = "a"\npassphrase_file = "pin"\n').join()).toContain('only one of them')
  })

  it('takes library_parameters for the module, the same for all tokens of one', () => {
    const standby =
      '[keystore.standby]\nkind = "pkcs11"\nmodule = "/usr/lib/p11.so"\ntoken = "other"\npin_file = "pin"\n'
    const parameters = `library_parameters = "configdir='sql:/etc/nss'"\n`
    expect(read(hsm + parameters).keystore).toMatchObject({ libraryParameters: "configdir='sql:/etc/nss'" })
    expect(problems(hsm + parameters + standby).join()).toMatch(
      /^keystore\.standby\.library_parameters: must be as keystore\.library_parameters/,
    )
    expect(read(hsm + parameters + standby + parameters).standbyKeystore).toMatchObject({ token: 'other' })
    expect(problems(`[keystore]\n${parameters}`).join()).toContain('does not belong to keystore.kind = "software"')
  })

  it('can be opened by a systemd credential', () => {
    const text = 'keystore.credential = "keystore-key"'
    expect(read(text, { CREDENTIALS_DIRECTORY: '/run/credentials/keyman' }).keystore).toMatchObject({
      unlock: { credential: '/run/credentials/keyman/keystore-key' },
    })
    expect(problems(text)[0]).toContain('CREDENTIALS_DIRECTORY is not set')
  })
})

describe('loadConfig', () => {
  it('reads the file and its secrets, and refuses a secret that others may read', () => {
    const file = join(folder, 'server.toml')
    const pin = join(folder, 'pin')
    writeFileSync(file, hsm)
    writeFileSync(pin, '4711\n', { mode: 0o600 })
    const { keystore } = loadConfig({ env: { KEYMAN_CONFIG: file }, home: folder })
    expect(keystore.kind === 'pkcs11' && keystore.pin.reveal()).toBe('4711')
    rmSync(pin)
    writeFileSync(pin, '4711\n', { mode: 0o644 })
    expect(() => loadConfig({ file, env: {}, home: folder })).toThrow(/others may read it \(mode 644\).*line 5/)
  })

  it('names a file that is not there', () => {
    expect(() => loadConfig({ file: join(folder, 'none.toml'), env: {}, home: folder })).toThrow(
      /there is no such file/,
    )
  })
})
