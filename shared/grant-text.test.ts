import { expect, test } from 'vitest'
import { schemas } from './api/index.ts'
import { grantText, optionsText } from './grant-text.ts'

const grant = (more: object = {}) => {
  const parsed = schemas.newGrant.parse({
    who: 'alice@example.com',
    login: 'deploy',
    hosts: { labels: { env: 'prod', role: 'web' } },
    ...more,
  })
  if (parsed.kind !== 'login') throw new Error('no login')
  return parsed
}

test('an ordinary grant says who, as whom, where and for how long', () => {
  expect(grantText(grant())).toBe('alice@example.com as deploy on env=prod,role=web for at most 8h')
  expect(optionsText(grant().options)).toBe('')
})

test('whatever a grant gives or takes besides is said', () => {
  const options = {
    pty: false,
    portForwarding: false,
    agentForwarding: true,
    x11Forwarding: true,
    sourceAddress: ['10.0.0.0/8', '192.0.2.1'],
    forceCommand: 'uptime -p',
  }
  const whole = grant({
    hosts: { host: 'web1.example.com' },
    maxLifetime: 600,
    endsAt: '2026-12-01T00:00:00.000Z',
    options,
  })
  expect(grantText(whole)).toBe(
    'alice@example.com as deploy on web1.example.com for at most 10m, until 2026-12-01T00:00:00.000Z, with agent forwarding, with X11 forwarding, without a terminal, without port forwarding, from 10.0.0.0/8 192.0.2.1 alone, for the command "uptime -p" alone',
  )
})

test('no field of a grant changes without the words', () => {
  const base = grantText(grant())
  const changes: object[] = [
    { who: 'team:sre' },
    { login: 'root' },
    { hosts: { host: 'web1.example.com' } },
    { hosts: { in: 'payments/prod' } },
    { hosts: { in: 'payments/prod', labels: { env: 'prod' } } },
    { maxLifetime: 60 },
    { endsAt: '2027-01-01T00:00:00.000Z' },
    ...Object.keys(schemas.grantOptions.shape).map(name => ({
      options: {
        [name]: { sourceAddress: ['10.0.0.1'], forceCommand: 'x', pty: false, portForwarding: false }[name] ?? true,
      },
    })),
  ]
  expect(changes).toHaveLength(7 + 6)
  for (const change of changes) expect(grantText(grant(change)), JSON.stringify(change)).not.toBe(base)
})

test('a role says which, and where', () => {
  const role = (more: object) => grantText(schemas.newGrant.parse({ kind: 'role', who: 'team:sre', ...more }))
  expect(role({ role: 'auditor' })).toBe('team:sre the role auditor on the organisation')
  expect(role({ role: 'viewer', in: 'payments/prod', endsAt: '2027-01-01T00:00:00.000Z' })).toBe(
    'team:sre the role viewer on payments/prod, until 2027-01-01T00:00:00.000Z',
  )
  expect(() => role({ role: 'viewer' })).toThrow('of a project or environment')
  expect(() => role({ role: 'auditor', in: 'payments' })).toThrow('of the organisation')
})

test('no field of names for TLS certificates changes without the words', () => {
  const names = (more: object = {}) => {
    const base = { kind: 'names', id: 'grant_0123456789', who: 'team:sre', profile: 'server', wildcards: false }
    const made = { createdAt: '2026-12-01T00:00:00.000Z', createdBy: 'root@example.com' }
    const whole = { ...base, ...made, names: ['*.example.com', '10.0.0.0/8'], maxLifetime: 90 * 86_400, ...more }
    return grantText(schemas.grant.parse(whole))
  }
  expect(names()).toBe(
    'team:sre the names *.example.com 10.0.0.0/8 for server certificates on the organisation for at most 90d',
  )
  const changes = [{ who: 'team:ops' }, { names: ['*.example.com'] }, { profile: 'both' }, { wildcards: true }]
  const others = [{ maxLifetime: 60 }, { in: 'payments' }, { endsAt: '2027-01-01T00:00:00.000Z' }]
  expect(new Set([{}, ...changes, ...others].map(more => names(more))).size).toBe(8)
})
