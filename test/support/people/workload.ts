import { generateKeyPairSync } from 'node:crypto'
import { type Connection, call } from '#cli/server/client.ts'
import { type LoginKeys, makeLoginKeys, proveBoth } from '#cli/session/keys.ts'
import { api } from '#shared/api/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { parseWorkloadToken } from '#shared/join-token.ts'
import { parseWorkloadName } from '#shared/names.ts'
import { bodyOf } from '../worlds/attack-world.ts'
import type { ApiSession } from './api-person.ts'

/** A workload without files: the calls that `keyman workload join` and a renewal make, each part of which can be made wrong. */
export type ApiWorkload = {
  readonly name: string
  readonly keys: LoginKeys
  readonly connection: Connection
  readonly login: WorkloadLogin
}
export type WorkloadLogin = Awaited<ReturnType<typeof renewal>>

/** Names it; gives its token's secret. */
export async function addWorkload(by: ApiSession, name: string, more: Record<string, unknown> = {}): Promise<string> {
  const { token } = await call(by.connection, api.workloads.add, { body: bodyOf(api.workloads.add, { name, ...more }) })
  return parseWorkloadToken(token).secret
}

/** A new token of one that is there. */
export async function newToken(by: ApiSession, name: string): Promise<string> {
  const body = bodyOf(api.workloads.token, {})
  const { token } = await call(by.connection, api.workloads.token, { params: { name }, body })
  return parseWorkloadToken(token).secret
}

/** What whoever has a token sends. */
export async function workloadJoinBody(stranger: Connection, token: string, keys = makeLoginKeys('test')) {
  const { challenge } = await call(stranger, api.login.challenge)
  return {
    token,
    clientPublicKey: toBase64(keys.client.spki),
    sshPublicKey: keys.ssh.line,
    proof: proveBoth(keys, 'workload', challenge),
  }
}

const withCertificate = (stranger: Connection, keys: LoginKeys, certificate: string): Connection => ({
  url: stranger.url,
  root: stranger.root,
  client: { key: keys.client.pem, certificate },
})

export async function joinWorkload(stranger: Connection, name: string, token: string): Promise<ApiWorkload> {
  const keys = makeLoginKeys('test')
  const login = await call(stranger, api.workloadSelf.join, { body: await workloadJoinBody(stranger, token, keys) })
  parseWorkloadName(login.session.workload, 'name')
  return { name, keys, login, connection: withCertificate(stranger, keys, login.client.certificate) }
}

/** The same SSH key with another client key. */
export function withNewClientKey({ ssh }: LoginKeys): LoginKeys {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
  return { ssh, client: { privateKey, spki, pem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() } }
}

async function renewal(connection: Connection, keys: LoginKeys) {
  const { challenge } = await call(connection, api.login.challenge)
  const body = { clientPublicKey: toBase64(keys.client.spki), proof: proveBoth(keys, 'workload', challenge) }
  return call(connection, api.workloadSelf.renew, { body })
}

/** The workload as it is after a renewal; `connection`: with which key it asks. */
export async function renewWorkload(
  workload: ApiWorkload,
  keys = withNewClientKey(workload.keys),
  connection = workload.connection,
): Promise<ApiWorkload> {
  const login = await renewal(connection, keys)
  return { ...workload, keys, login, connection: withCertificate(connection, keys, login.client.certificate) }
}
