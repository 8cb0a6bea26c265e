import { existsSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { api } from '#shared/api/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { type JoinToken, parseJoinToken } from '#shared/join-token.ts'
import { told } from '#shared/told.ts'
import type { TrustBundle } from '#shared/trust/index.ts'
import { type AgentConfig, checkConfig, configFile, saveConfig } from '../config.ts'
import { Keeper } from '../keeper/keeper.ts'
import { runSession } from '../keeper/session.ts'
import type { Log } from '../log.ts'
import { call } from '../server/call.ts'
import { makeClientKey, saveCertificate, saveClientKey } from '../server/client-identity.ts'
import { fetchTrust, machineRoots } from '../server/trust.ts'
import { authorities } from '../server/verify-state.ts'
import { checkIncluded, checkNotOverruled, describeForeign, foreignSettings } from '../sshd/config.ts'
import { type HostKey, prove, readHostKey } from '../sshd/host-keys.ts'
import { lookAround } from '../sshd/look-around.ts'
import { shutsAllOut } from '../sshd/may-log-in.ts'
import { tryReload } from '../sshd/reload.ts'
import { ANYBODY, askSshd, testConfiguration } from '../sshd/sshd.ts'
import { ensureFolder } from '../state/atomic-write.ts'
import { lockState } from '../state/lock-state.ts'
import { saveMemory } from '../state/memory.ts'
import { loadAgent } from './run.ts'

/** What the machine's administrator decides at join; all of it goes into `agent.json`. */
export type Machine = Omit<AgentConfig, 'version' | 'url' | 'organisation' | 'host' | 'rootFingerprint'>

/**
 * Enrols this machine: checks itself first, reads the trust bundle and believes it by the token's fingerprint alone,
 * proves that it holds its host key and a new client key, and exchanges the token for a client certificate. Then it gets
 * its host certificates and its first desired state as `run` would. Gives the revision's outcome for a person.
 */
export async function joinHost(
  request: {
    readonly token: string
    readonly url: string | undefined
    readonly stateFolder: string
    readonly machine: Machine
    readonly again: boolean
  },
  log: Log,
): Promise<Joined> {
  const { stateFolder, machine } = request
  const token = parseJoinToken(request.token)
  const url = request.url ?? token.url
  const file = configFile(stateFolder)
  if (existsSync(file) && !request.again) {
    throw new KeymanError('conflict', `this machine has joined already (${file})`, {
      hint: 'to join anew with a new token: keyman-agent join --again',
    })
  }
  // A token is good once: what can fail on this machine fails before it is used.
  const given = checkConfig(
    { version: 1, url, organisation: 'unknown', host: token.name, rootFingerprint: token.fingerprint, ...machine },
    'what join was given',
  )
  const hostKeys = goodHostKeys(given, log)
  const [first] = hostKeys
  if (!first) throw new KeymanError('not-found', 'this machine has no host key that can be certified')
  const config = { ...given, hostKeys: hostKeys.map(({ file }) => file) }
  await testConfiguration(config)
  checkNotOverruled(config, 'joined')
  checkIncluded(config)
  for (const foreign of foreignSettings(config, 'joined'))
    log.warn(
      foreign.keyword === 'AuthorizedKeysCommand'
        ? `${describeForeign(foreign)} goes on letting in by plain keys that KeyMan does not know`
        : `${describeForeign(foreign)} counts no more while ${config.dropIn} is there`,
    )
  await tryReload(config)
  for (const { about, message } of (await lookAround(config, new Date()).found).findings)
    if (about !== 'remark') log.warn(message)
  mkdirSync(stateFolder, { recursive: true, mode: 0o700 })
  ensureFolder(stateFolder, 0o700)
  mkdirSync(dirname(config.sshdFolder), { recursive: true, mode: 0o755 })
  ensureFolder(config.sshdFolder, 0o755)
  ensureFolder(dirname(config.dropIn), 0o755)
  const unlock = lockState(stateFolder, log)
  try {
    return await enrol({ token, config, stateFolder, hostKey: first }, log)
  } finally {
    unlock()
  }
}

/** One that cannot be certified keeps none of the others from it: it is left as it is. */
function goodHostKeys(config: AgentConfig, log: Log): HostKey[] {
  return config.hostKeys.flatMap(file => {
    try {
      return readHostKey(file)
    } catch (error) {
      log.warn(`the host key ${file} gets no certificate, and is left as it is: ${told(error).message}`)
      return []
    }
  })
}

/** Throws `denied` where nobody would get in by the certificates of this organisation. */
async function checkTakesCertificates(config: AgentConfig, { ssh }: TrustBundle): Promise<void> {
  const types = [...new Set(authorities(ssh.userAuthorities).map(({ type }) => type))]
  const [why] = shutsAllOut(await askSshd(config, ANYBODY, '127.0.0.1'), types)
  if (why === undefined) return
  throw new KeymanError('denied', `sshd would let nobody in by a certificate of this organisation: ${why}`, {
    hint: `change that in sshd's configuration; the server's side is authority.algorithm (docs/hosts.md)`,
  })
}

type Joined = { host: string; organisation: string; inForce: boolean; why: string }

async function enrol(
  {
    token,
    config,
    stateFolder,
    hostKey,
  }: {
    readonly token: JoinToken
    readonly config: AgentConfig
    readonly stateFolder: string
    readonly hostKey: HostKey
  },
  log: Log,
): Promise<Joined> {
  const { url } = config
  const trust = await fetchTrust(url, { fingerprint: token.fingerprint })
  const { organisation } = trust.bundle
  await checkTakesCertificates(config, trust.bundle)
  const connection = { url, roots: machineRoots(trust.bundle) }
  const client = makeClientKey()
  const { challenge } = await call(connection, api.login.challenge, {})
  const answer = await call(connection, api.hostSelf.join, {
    body: {
      token: token.secret,
      clientPublicKey: toBase64(client.spki),
      sshPublicKey: hostKey.line,
      proof: await prove(config, hostKey, client, 'join', challenge),
    },
  })
  if (answer.host !== token.name || answer.organisation !== organisation)
    throw new KeymanError(
      'denied',
      `the server took this machine for ${answer.host} of ${answer.organisation}, the token is for ${token.name} of ${organisation}`,
    )
  saveClientKey(stateFolder, client)
  saveCertificate(stateFolder, answer.client.certificate, { organisation, host: token.name, spki: client.spki })
  saveMemory(stateFolder, {
    bundle: { document: trust.signed.document, signatures: [...trust.signed.signatures] },
    incarnation: trust.bundle.incarnation,
    revision: 0,
    krlVersion: '0',
    canary: [],
    reloadPending: false,
  })
  saveConfig(stateFolder, { ...config, organisation })
  log.info(`joined ${organisation} as ${token.name}`)

  const keeper = new Keeper(await loadAgent(stateFolder, log))
  const outcome = await runSession(keeper, { signal: new AbortController().signal, once: true, now: () => new Date() })
  return { host: token.name, organisation, inForce: outcome.settled, why: outcome.why }
}
