import type { AttackWorld, JoinedHost } from './worlds/attack-world.ts'

export type RouteInput = { params?: Record<string, string>; query?: string; body?: unknown }

/** What each route needs so that only the caller, or the one field that a test changes, can be the reason of a refusal; by the route's ID. */
export function routeInputs(world: Pick<AttackWorld, 'bob'>, host: JoinedHost): Record<string, RouteInput> {
  const bob = { identity: 'bob@example.com' }
  const name = { name: host.name }
  const workload = { name: 'payments/nothing' }
  const labelled = { name: 'web3.keyman.localhost', labels: { env: 'test' }, address: 'web3.example.com' }
  return {
    'persons.show': { params: bob },
    'persons.invite': { body: { identity: 'zoe@example.com' } },
    'persons.uninvite': { params: { id: 'link_0123456789' } },
    'persons.disable': { params: { identity: 'nobody@example.com' } },
    'persons.enable': { params: bob },
    'persons.change': { params: bob, body: { owner: false } },
    'persons.reset': { params: { identity: 'nobody@example.com' }, body: {} },
    'teams.addMembers': { params: { name: 'sre' }, body: { persons: [bob.identity] } },
    'teams.removeMembers': { params: { name: 'sre' }, body: { persons: [bob.identity] } },
    'mandates.begin': { body: { lifetime: 600 } },
    'grants.add': {
      body: {
        ...{ who: bob.identity, login: 'deploy' },
        hosts: { host: host.name },
        options: { forceCommand: 'true' },
      },
    },
    'projects.show': { params: { project: 'payments' } },
    'projects.add': { body: { name: 'payments' } },
    'projects.remove': { params: { project: 'nothing' } },
    'projects.removeEnvironment': { params: { project: 'nothing', environment: 'prod' } },
    'grants.change': { params: { id: 'grant_0123456789' }, body: { maxLifetime: 60 } },
    'grants.remove': { params: { id: 'grant_0123456789' } },
    'roles.add': { body: { name: 'deployer', of: 'place', actions: ['host.read'] } },
    'roles.change': { params: { name: 'nothing' }, body: { add: ['host.read'] } },
    'roles.remove': { params: { name: 'nothing' } },
    'access.may': { query: '?action=host.add' },
    'access.why': { query: `?host=${host.name}` },
    'revocations.create': { body: { target: { serial: '999999999' }, reason: 'test' } },
    'revocations.status': { params: { id: 'revocation_0123456789' } },
    'hosts.show': { params: name },
    'hosts.add': { body: labelled },
    'hosts.change': { params: name, body: { labels: { tier: 'web' } } },
    'hosts.remove': { params: { name: 'web9.keyman.localhost' } },
    'workloads.show': { params: workload },
    'workloads.add': { body: { name: 'payments/other' } },
    'workloads.change': { params: workload, body: { idle: 600 } },
    'workloads.token': { params: workload, body: {} },
    'workloads.end': { params: workload },
    'workloads.remove': { params: workload },
    'auditTrail.list': { query: '?kind=login&actor=alice@example.com' },
    'auditTrail.show': { params: { index: '0' } },
    'auditTrail.consistency': { query: '?from=1&to=1' },
    'auditTrail.state': { query: '?kind=person' },
    'trust.next': { body: {} },
    'trust.publish': { body: { document: '{}', signatures: [] } },
    'ssh.issueUserCertificate': { body: { publicKey: world.bob.keys.ssh.line } },
    'hostSelf.reportRevoked': { body: { base64: 'AAAA', signature: '-----BEGIN SSH SIGNATURE-----' } },
    'hostSelf.hostCertificate': {
      body: { publicKey: host.keys.ssh.line, challenge: 'AAAA', signature: '-----BEGIN SSH SIGNATURE-----' },
    },
    'sessions.end': { params: { id: 'session_0123456789abcdef' } },
    'passkeys.add': { body: { name: 'x', registration: {} } },
    'passkeys.rename': { params: { id: 'passkey_0123456789' }, body: { name: 'x' } },
    'passkeys.remove': { params: { id: 'passkey_0123456789' } },
  }
}

export const pathOf = (path: string, input: RouteInput): string =>
  path.replace(/\{(\w+)\}/g, (_, word: string) => encodeURIComponent(input.params?.[word] ?? `${word}_0123456789`)) +
  (input.query ?? '')
