import { existsSync, lstatSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import { decodeKrl, isRevoked, parseCertificate } from '#shared/ssh/index.ts'
import type { AgentConfig } from '../config.ts'
import { canaryFile } from '../keeper/apply-state.ts'
import { clockProblem } from '../keeper/clock.ts'
import type { Agent } from '../keeper/handle-frame.ts'
import { readCertificate } from '../keeper/host-certificates.ts'
import { connectionOf } from '../keeper/session.ts'
import { filesAreAsLeft } from '../keeper/settle.ts'
import { reasonOf } from '../log.ts'
import { checkKnown } from '../server/call.ts'
import { sshdFiles } from '../sshd/files.ts'
import { lookAround } from '../sshd/look-around.ts'
import { checkCanaryRevoked, checkInUse, sshdVersion, testConfiguration } from '../sshd/sshd.ts'
import { loadMemory } from '../state/memory.ts'

/** `message` says what was found, or what there is where all is well. `note`: nothing to mend, and to be known all the same. */
export type Check = { readonly name: string; readonly ok: boolean; readonly note?: true; readonly message: string }

/** What its own configuration says: only what keeps people out is something to mend. */
const ABOUT = {
  narrows: 'everybody with a grant gets in',
  'lets-in': 'who gets in beside KeyMan',
  remark: 'left as it was',
} as const

/** Looks at this machine from the outside, as somebody would who does not believe the agent. Changes nothing. */
export async function doctor(agent: Agent, now: () => Date = () => new Date()): Promise<Check[]> {
  const { config, stateFolder } = agent
  const files = sshdFiles(config)
  const checks: Check[] = []
  const check = async (name: string, look: () => string | Promise<string>) => {
    try {
      checks.push({ name, ok: true, message: await look() })
    } catch (error) {
      checks.push({ name, ok: false, message: reasonOf(error) })
    }
  }
  await check('sshd takes its configuration', async () => {
    await testConfiguration(config)
    return sshdVersion(config.sshd)
  })
  await check('sshd uses our files', async () => {
    await checkInUse(config)
    return config.dropIn
  })
  const around = await lookAround(config, now()).found
  for (const { about, message, fingerprints = [] } of around.findings) {
    const said = [message, ...fingerprints].join(' ')
    checks.push({
      name: ABOUT[about],
      ...(about === 'narrows' ? { ok: false } : { ok: true, note: true }),
      message: said,
    })
  }
  await check('nobody else can write them', () => {
    strictModes(config)
    return config.sshdFolder
  })
  await check("sshd's files are as this agent left them", () => {
    const memory = loadMemory(stateFolder)
    if (memory.revision === 0) throw new KeymanError('unavailable', 'no desired state has been in force yet')
    if (!filesAreAsLeft(config, memory))
      throw new KeymanError('unavailable', 'somebody changed them; keyman-agent run writes them again')
    return `revision ${memory.revision}`
  })
  await check('the list of revoked certificates is the real one', async () => {
    const krl = decodeKrl(readFileSync(files.krl), files.krl)
    const { canary, krlVersion } = loadMemory(stateFolder)
    if (canary.length === 0) throw new KeymanError('unavailable', 'no canary is known')
    for (const [i, line] of canary.entries()) {
      if (!isRevoked(krl, parseCertificate(line, 'canary')))
        throw new KeymanError('unavailable', `the canary is not in ${files.krl}`)
      await checkCanaryRevoked(config, files.krl, canaryFile(stateFolder, i))
    }
    return `version ${krlVersion}`
  })
  for (const key of config.hostKeys)
    await check(`${key} has a host certificate`, () => {
      const held = readCertificate(files.hostCertificate(key))
      if (!held) throw new KeymanError('unavailable', 'none yet')
      const end = new Date(Number(held.validBefore) * 1000)
      if (end <= now()) throw new KeymanError('unavailable', `it ended ${end.toISOString()}`)
      return `until ${end.toISOString()}`
    })
  await check('the client key is for its owner only', () => {
    const mode = lstatSync(join(stateFolder, 'client.key')).mode & 0o777
    if (mode !== 0o600) throw new KeymanError('unavailable', `client.key has mode ${mode.toString(8)}`)
    return 'mode 600'
  })
  await check('the client certificate is good', () => {
    const { notAfter } = connectionOf(agent).agentIdentity
    if (notAfter <= now())
      throw new KeymanError('unavailable', `it ended ${notAfter.toISOString()}: let the host join again`)
    return `until ${notAfter.toISOString()}`
  })
  await check('the server knows this host', async () => {
    await checkKnown(connectionOf(agent).connection)
    return `${config.host} of ${config.organisation} at ${config.url}`
  })
  await check("the clock agrees with the server's", async () => {
    const problem = await clockProblem(connectionOf(agent).connection, now)
    if (problem !== undefined) throw new KeymanError('unavailable', problem)
    return 'to the minute'
  })
  return checks
}

/** sshd's StrictModes refuses principals files below a folder that others can write to: every folder up to the root. */
function strictModes(config: AgentConfig): void {
  for (let path = sshdFiles(config).principals; path !== dirname(path); path = dirname(path)) {
    if (!existsSync(path)) throw new KeymanError('unavailable', `${path} is missing`)
    const entry = lstatSync(path)
    const owner = entry.uid === 0 || entry.uid === process.geteuid?.()
    if ((entry.mode & 0o022) !== 0 || !owner)
      throw new KeymanError('unavailable', `${path} can be written by others, so sshd refuses what lies below it`)
  }
}
