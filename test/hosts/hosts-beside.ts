import { randomBytes } from 'node:crypto'
import { hostsDeps } from '#server/build-rooms.ts'
import type { Services } from '#server/compose.ts'
import { hostFact } from '#server/hosts/facts.ts'
import { createHosts, type Hosts, type HostsDeps } from '#server/hosts/index.ts'
import { hostStream } from '#shared/api/index.ts'
import { utf8 } from '#shared/bytes.ts'
import type { HostName } from '#shared/names.ts'
import { recorded } from '#test/support/worlds/insert-rows.ts'

/** The hosts room as a second server has it, over the rooms of the first, with what a test changes. */
export async function hostsBeside(
  { store, keystore, ledger, config, identity, access, authority, trust, workloads }: Services,
  change: Partial<HostsDeps> = {},
): Promise<Hosts> {
  const deps = await hostsDeps({
    store,
    wrappingKeystores: [keystore],
    ledger,
    config,
    identity,
    access,
    authority,
    trust,
    workloads,
    now: () => new Date(),
    monotonic: () => performance.now(),
    random: bytes => new Uint8Array(randomBytes(bytes)),
    alarm: message => {
      throw new Error(message)
    },
    onError: error => {
      throw error
    },
  })
  return createHosts({
    ...deps,
    checkJoinProof: () => 'nobody joins here',
    failureLimiter: { take: () => {} },
    ...change,
  })
}

export const spkiOf = (name: HostName): Uint8Array => utf8(`client key of ${name}`)

/** Hosts that have joined, without agents. */
export async function addJoined(
  { store, ledger }: Pick<Services, 'store' | 'ledger'>,
  names: readonly HostName[],
): Promise<void> {
  const facts = names.map(name =>
    hostFact({ id: `host_${name}`, name, labels: {}, port: 22, clientSpki: spkiOf(name) }),
  )
  await recorded({ store, ledger }, facts, async t => {
    for (const name of names)
      await t.execute(
        `insert into host (id, name, labels, port, created_at, joined_at, client_spki)
       values ($1, $2, '{}'::jsonb, 22, now(), now(), $3)`,
        [`host_${name}`, name, spkiOf(name)],
      )
  })
  await store.execute('update host_change set version = version + 1', [])
}

/** A host's stream without a socket. It says hello, and 'in force' to everything, unless `send` or `answer` does something else. */
export function connectHost(
  hosts: Hosts,
  name: HostName,
  incarnation: string,
  send: (frame: hostStream.FrameToAgent) => void = () => undefined,
  answer: (revision: number) => hostStream.FrameToServer | undefined = revision => ({ type: 'in-force', revision }),
) {
  const closed = Promise.withResolvers<string>()
  const inForce = Promise.withResolvers<void>()
  const connection = hosts.connect(
    { kind: 'host', name, clientSpki: spkiOf(name), clientFingerprint: '', epochs: [] },
    {
      from: '192.0.2.1',
      isThere: async () => false,
      async send(text) {
        const frame = hostStream.frameToAgent.parse(JSON.parse(text))
        send(frame)
        if (frame.type === 'log' || frame.type === 'names') return
        const revision = frame.type === 'state' ? frame.state.revision : frame.revision
        const word = answer(revision)
        if (word) setImmediate(() => inForce.resolve(connection.receive(JSON.stringify(word))))
      },
      close: (_, reason) => closed.resolve(reason),
      async check() {},
    },
  )
  const hello = { type: 'hello', revision: 0, incarnation, agent: 'keyman-agent 0.1.0', sshd: 'OpenSSH_9.9' }
  void connection.receive(JSON.stringify(hello))
  return {
    /** Its first state is in force, and written down. */
    inForce: inForce.promise,
    closed: closed.promise,
    say: (word: hostStream.FrameToServer) => connection.receive(JSON.stringify(word)),
    hangUp: () => connection.closed(),
  }
}
