import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AgentConfig } from '#agent/config.ts'
import type { Agent } from '#agent/keeper/handle-frame.ts'
import { Keeper, type Word } from '#agent/keeper/keeper.ts'
import { createLog } from '#agent/log.ts'
import { expiryStyle, sshdVersion } from '#agent/sshd/sshd.ts'
import { saveMemory } from '#agent/state/memory.ts'
import type { hostStream } from '#shared/api/index.ts'
import { parseLogin, parseUserPrincipal } from '#shared/names.ts'
import { newSshd, ssh, type TestSshd } from './programs/sshd.ts'
import { pathOf } from './requires.ts'
import { newKey, newWorld } from './trust-world.ts'

/** A host that somebody else configured: a real sshd with lines of theirs, and our files in force in it for `alice` as one login. */
export type ConfiguredHost = {
  readonly sshd: TestSshd
  readonly agent: Agent
  readonly keeper: Keeper
  /** What the agent said of the state. */
  readonly word: Word
  /** What a server may tell it: `alice` as this one login. */
  state(revision: number): hostStream.DesiredState
  /** What it finds in the host's own configuration by now: `narrows: …`. */
  found(): Promise<string[]>
  /** How `alice` comes in by her certificate: 0 where she does. */
  login(): Promise<number>
}

export async function configuredHost(
  login: string,
  theirs: (of: Pick<TestSshd, 'folder' | 'hostKey'>) => readonly string[],
): Promise<ConfiguredHost> {
  const world = newWorld()
  const key = newKey()
  const alice = { key, certificate: world.userCertificate(key.publicKey, ['alice@example.com'], 101n) }
  const sshd = await newSshd(folder => [`Include ${folder}/sshd/keyman.conf`])
  writeFileSync(sshd.configFile, `${readFileSync(sshd.configFile, 'utf8')}${theirs(sshd).join('\n')}\n`)
  const stateFolder = join(sshd.folder, 'state')
  mkdirSync(stateFolder, { mode: 0o700 })
  const config: AgentConfig = {
    version: 1,
    url: 'https://localhost:4443',
    organisation: world.organisation,
    host: world.host,
    rootFingerprint: `SHA256:${'A'.repeat(43)}`,
    sshdFolder: join(sshd.folder, 'sshd'),
    dropIn: join(sshd.folder, 'sshd', 'keyman.conf'),
    sshdConfig: sshd.configFile,
    sshd: pathOf('sshd'),
    sshKeygen: '/usr/bin/ssh-keygen',
    hostKeys: [`${sshd.hostKey}.pub`],
    reload: { pidFile: sshd.pidFile },
  }
  const { document, signatures } = world.signedBundle()
  const bundle = { document, signatures: [...signatures] }
  saveMemory(stateFolder, {
    bundle,
    incarnation: 'first',
    revision: 0,
    krlVersion: '0',
    canary: [],
    reloadPending: false,
  })
  const log = createLog(
    () => undefined,
    () => new Date(),
  )
  const style = expiryStyle(await sshdVersion(config.sshd))
  const agent: Agent = { config, stateFolder, log, style, asked: { fingerprint: undefined } }
  const line = { pty: true, portForwarding: true, agentForwarding: false, x11Forwarding: false }
  const principal = parseUserPrincipal('alice@example.com', 'principal')
  const keeper = new Keeper(agent)
  const state = (revision: number) =>
    world.state(revision, { principals: { [parseLogin(login, 'login')]: [{ principal, ...line }] } })
  const word = await keeper.take({ type: 'state', state: state(1) })
  if (word === undefined) throw new Error('the agent said nothing')
  await sshd.start()
  return {
    sshd,
    agent,
    keeper,
    word,
    state,
    async found() {
      // As by the clock: first sshd's configuration.
      await keeper.look()
      // The one that goes on may have begun before what is asked about.
      await keeper.lookAround()
      await keeper.lookAround()
      const now = await keeper.take({ type: 'current', revision: 1 })
      if (now?.type !== 'in-force') throw new Error(now?.message ?? 'the agent said nothing')
      return (now.findings ?? []).map(({ about, message }) => `${about}: ${message}`)
    },
    login: async () => (await ssh(sshd, login, alice, 'true')).code,
  }
}
