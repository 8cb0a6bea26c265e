import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { allRoutes, inWords } from './index.ts'
import { named } from './words.ts'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDs3 test'
const SIGNATURE = '-----BEGIN SSH SIGNATURE-----'
const LOGIN = {
  who: 'team:sre',
  login: 'deploy',
  maxLifetime: 10_800,
  endsAt: '2030-01-01T00:00:00Z',
  options: {
    pty: false,
    portForwarding: false,
    agentForwarding: true,
    x11Forwarding: true,
    sourceAddress: ['192.0.2.0/24', '198.51.100.7'],
    forceCommand: 'uptime -p',
  },
}
/** A body of each action with every field that it may have; several where one field excludes another. */
const FULL: Record<string, Record<string, unknown>[]> = {
  'persons.invite': [{ identity: 'zoe@example.com', owner: true, lifetime: 7200 }],
  'persons.change': [{ owner: true }],
  'persons.reset': [{ removePasskeys: true, lifetime: 7200 }],
  'teams.addMembers': [{ persons: ['zoe@example.com', 'yan@example.com'] }],
  'teams.removeMembers': [{ persons: ['zoe@example.com', 'yan@example.com'] }],
  'grants.add': [
    ...[
      { host: 'web1.example.com' },
      { labels: { env: 'prod', tier: 'db' } },
      { in: 'payments/prod', labels: { env: 'prod' } },
    ].map(hosts => ({ kind: 'login', hosts, ...LOGIN })),
    { kind: 'role', who: 'team:sre', role: 'viewer', in: 'payments', endsAt: '2030-01-01T00:00:00Z' },
  ],
  'grants.change': [{ endsAt: LOGIN.endsAt, maxLifetime: LOGIN.maxLifetime, options: LOGIN.options }],
  'roles.add': [{ name: 'deployer', of: 'place', actions: ['host.read'] }],
  'roles.change': [{ add: ['host.read'], remove: ['host.change'] }],
  'projects.add': [{ name: 'payments', environments: ['prod', 'dev'] }],
  'revocations.create': [
    { person: 'zoe@example.com' },
    { session: 'session_abcdefghijkl' },
    { keyId: 'zoe@example.com/passkey/session_x' },
    { serial: '4711' },
    { publicKey: KEY },
  ].map(target => ({ target, reason: 'laptop lost', hostSessions: 'keep', wait: 17 })),
  'workloads.add': [{ name: 'payments/prod/backup', idle: 10_800, lifetime: 600, tokenLifetime: 7200 }],
  'workloads.change': [{ idle: 10_800, lifetime: 600 }],
  'workloads.token': [{ tokenLifetime: 7200 }],
  'hosts.add': [
    {
      name: 'web1.example.com',
      aliases: ['www.example.com'],
      labels: { env: 'prod' },
      in: 'payments/prod',
      port: 2222,
      address: '198.51.100.7',
      tokenLifetime: 10_800,
    },
  ],
  'hosts.change': [
    {
      labels: { env: 'prod', tier: 'web' },
      in: 'payments/prod',
      addAliases: ['www.example.com'],
      removeAliases: ['old.example.com'],
      address: '198.51.100.7',
      port: 2222,
    },
  ],
  'mandates.begin': [{ lifetime: 600 }],
  'trust.publish': [{ document: 'the whole of a trust document', signatures: [SIGNATURE] }],
  'passkeys.add': [{ name: 'phone', registration: { id: 'abc', response: { attestationObject: 'def' } } }],
  'passkeys.rename': [{ name: 'phone' }],
}
/** What is not shown itself. */
const HIDDEN = ['document', 'signatures', 'registration']
const DURATIONS = { 7200: '2h', 10800: '3h', 600: '10m' }

const digest = (secret: string) => `of ${secret.length}`
const actions = allRoutes.filter(({ touch, body }) => touch && body)

/** Every key that a schema knows, in all its alternatives; a record's are whatever somebody types. */
function keysOf(schema: unknown): string[] {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault)
    return keysOf(schema.unwrap())
  if (schema instanceof z.ZodUnion) return schema.options.flatMap(keysOf)
  if (schema instanceof z.ZodObject)
    return Object.entries(schema.shape).flatMap(([key, field]) => [key, ...keysOf(field)])
  return []
}
const keysIn = (value: unknown): string[] =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.entries(value).flatMap(([key, each]) => [key, ...keysIn(each)])
    : []
const leavesIn = (value: unknown, key: string): [string, unknown][] =>
  HIDDEN.includes(key) || typeof value !== 'object' || value === null
    ? [[key, value]]
    : Object.entries(value).flatMap(([name, each]) => leavesIn(each, Array.isArray(value) ? key : name))

describe('a request in words', () => {
  it.each(actions)('$id: every field that its schema knows is shown, whatever is in it', ({ id, body }) => {
    const full = FULL[id]
    if (!full || !body) throw new Error(`${id}: say here what a full body is`)
    const known = new Set(full.flatMap(keysIn))
    expect(keysOf(body).filter(key => !known.has(key))).toEqual([])
    for (const each of full) {
      const lines = inWords(body, body.parse(each), digest)
      expect(new Set(lines.map(({ name }) => name)).size).toBe(lines.length)
      const text = lines.map(({ value }) => value).join('\n')
      for (const [key, value] of leavesIn(each, '')) {
        if (HIDDEN.includes(key)) expect(text).toContain('characters, digest of ')
        else if (typeof value === 'boolean') expect(text).toContain(value ? 'yes' : 'no')
        else expect(text).toContain(DURATIONS[value as keyof typeof DURATIONS] ?? String(value))
      }
      // What is otherwise in one field is otherwise in words: nothing can be slipped in.
      for (const other of full) if (other !== each) expect(inWords(body, body.parse(other), digest)).not.toEqual(lines)
    }
  })

  it('says of a change what it takes off', () => {
    const { body } = actions.find(({ id }) => id === 'hosts.change') ?? {}
    if (!body) throw new Error('no hosts')
    expect(inWords(body, body.parse({ labels: { env: null, tier: 'web' }, address: null }), digest)).toEqual([
      { name: 'Labels', value: 'env=taken off, tier=web' },
      { name: 'In', value: 'where it is' },
      { name: 'Called as well', value: 'by no new name' },
      { name: 'Called no more', value: 'keeps its names' },
      { name: 'Reached at', value: 'taken off' },
      { name: 'Port', value: 'as before' },
    ])
  })

  it('says what is left out, too', () => {
    const { body } = actions.find(({ id }) => id === 'grants.add') ?? {}
    if (!body) throw new Error('no grants')
    const sparse = body.parse({ who: 'zoe@example.com', login: 'root', hosts: { host: 'web1.example.com' } })
    expect(inWords(body, sparse, digest)).toEqual([
      { name: 'Gives', value: 'login' },
      { name: 'To', value: 'zoe@example.com' },
      { name: 'Login', value: 'root' },
      { name: 'On the host', value: 'web1.example.com' },
      { name: 'A certificate lives at most', value: '8h' },
      { name: 'The grant ends', value: 'never' },
      { name: 'With a terminal', value: 'yes' },
      { name: 'With port forwarding', value: 'yes' },
      { name: 'With agent forwarding', value: 'no' },
      { name: 'With X11 forwarding', value: 'no' },
      { name: 'From', value: 'any address' },
      { name: 'Command', value: 'any' },
    ])
  })

  it('is not made of a field that has no words: it is thrown, and nothing is asked for', () => {
    const schema = z.strictObject({ told: named('Told', z.string()), hidden: z.string().optional() })
    for (const value of [{ told: 'a' }, { told: 'a', hidden: 'b' }])
      expect(() => inWords(schema, value, digest)).toThrow('hidden: a field without words')
    expect(inWords(schema.pick({ told: true }), { told: 'a' }, digest)).toEqual([{ name: 'Told', value: 'a' }])
  })

  it('quotes what somebody typed, so that it is not taken for words of ours', () => {
    const schema = z.strictObject({ because: named('Because', z.string(), { how: 'text' }) })
    expect(inWords(schema, { because: 'x", As administrator: "no' }, digest)).toEqual([
      { name: 'Because', value: '"x\\", As administrator: \\"no"' },
    ])
  })

  it('lets nothing through that turns text about or is not seen, of whatever kind; other letters stay', () => {
    const schema = z.strictObject({
      plain: named('Plain', z.string()),
      text: named('Text', z.string(), { how: 'text' }),
    })
    const value = (text: string) => inWords(schema, { plain: text, text }, digest).map(line => line.value)
    expect(value('a\u202eb\u200bc\u2028d')).toEqual(['a\\u202eb\\u200bc\\u2028d', '"a\\u202eb\\u200bc\\u2028d"'])
    expect(value('Zoë, 東京')).toEqual(['Zoë, 東京', '"Zoë, 東京"'])
  })
})
