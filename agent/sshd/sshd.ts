import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { KeymanError } from '#shared/errors.ts'
import { isLogin } from '#shared/names.ts'
import type { AgentConfig } from '../config.ts'
import { checkNotOverruled, configurationFiles } from './config.ts'
import { ourSettings, sshdFiles } from './files.ts'
import type { ExpiryStyle } from './principals-file.ts'

/** Asking sshd and ssh-keygen themselves. Every command and path is from this machine's own configuration. */

export type Ran = { readonly code: number; readonly out: string }

/** Runs a program without a shell; stdout and stderr together. Throws `unavailable` where it cannot be started or takes longer than 15 s. */
export function run(program: string, args: readonly string[], input?: Uint8Array): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const options = { timeout: 15_000, maxBuffer: 8 * 1024 * 1024, encoding: 'utf8' as const }
    const child = execFile(program, [...args], options, (error, out, err) => {
      if (error && typeof error.code !== 'number') {
        reject(new KeymanError('unavailable', `${program} could not be run: ${error.message.split('\n')[0]}`))
      } else resolve({ code: typeof error?.code === 'number' ? error.code : 0, out: out + err })
    })
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input)
  })
}

/** `OpenSSH_9.2p1 …`, as sshd says. */
export async function sshdVersion(sshd: string): Promise<string> {
  const { out } = await run(sshd, ['-V'])
  return /OpenSSH_[0-9]+\.[0-9]+[A-Za-z0-9]*/.exec(out)?.[0] ?? 'unknown'
}

/** sshd reads `expiry-time="…Z"` as UTC from 9.1 on; before, and where the version is not known, standard time of the zone is what all read. */
export function expiryStyle(version: string): ExpiryStyle {
  const [, major = '0', minor = '0'] = /^OpenSSH_([0-9]+)\.([0-9]+)/.exec(version) ?? []
  return Number(major) > 9 || (Number(major) === 9 && Number(minor) >= 1) ? 'utc' : 'local'
}

/** Below `/run`, which is empty after each start of the machine: nothing else is ever made where sshd names it. */
const PRIVSEP = /^Missing privilege separation directory: (\/(?:var\/)?run\/[A-Za-z0-9._-]+)\s*$/m

/**
 * Asks sshd. Run by root it wants its folder below /run, which is missing where it has not run since the machine started
 * (socket activation, an inactive unit): that is made as Debian's own script makes it.
 */
async function runSshd(config: AgentConfig, args: readonly string[]): Promise<Ran> {
  const all = [...args, '-f', config.sshdConfig]
  const first = await run(config.sshd, all)
  const folder = first.code === 0 ? undefined : PRIVSEP.exec(first.out)?.[1]
  if (folder === undefined) return first
  try {
    mkdirSync(folder, { mode: 0o755 })
    chmodSync(folder, 0o755)
  } catch {
    return first
  }
  return run(config.sshd, all)
}

/** SIGHUP with a bad configuration kills sshd, so this comes before each reload. Throws `denied` with what sshd says. */
export async function testConfiguration(config: AgentConfig): Promise<void> {
  const { code, out } = await runSshd(config, ['-t'])
  if (code !== 0) throw new KeymanError('denied', `sshd -t refuses its configuration: ${firstLine(out)}`)
}

/** Each question starts an sshd. */
const ASKED_AT_ONCE = 4

/** In their order, a few at a time. */
export async function inTurns<T, R>(items: readonly T[], ask: (item: T) => Promise<readonly R[]>): Promise<R[]> {
  const found: R[] = []
  for (let i = 0; i < items.length; i += ASKED_AT_ONCE)
    found.push(...(await Promise.all(items.slice(i, i + ASKED_AT_ONCE).map(ask))).flat())
  return found
}

/** The login that stands for every login without a principals file of ours. */
export const ANYBODY = 'keyman-check'

/**
 * Reads whether somebody else's configuration says otherwise for any connection, and asks sshd which files it would use,
 * for anybody and for each login that has a principals file. Throws `denied` where they are not ours alone: then nothing
 * is in force there.
 */
export async function checkInUse(config: AgentConfig): Promise<void> {
  checkNotOverruled(config)
  const failed = await inTurns([ANYBODY, ...loginsOf(config)], login =>
    checkInUseFor(config, login).then(
      () => [],
      (error: unknown) => [error],
    ),
  )
  if (failed.length > 0) throw failed[0]
}

/** What sshd would do for one connection as `login`: keyword in lower case, to the values of its lines. Throws `denied` with what it says. */
export async function askSshd(config: AgentConfig, login: string, from: string): Promise<Map<string, string[]>> {
  const connection = `user=${login},host=localhost,addr=${from},laddr=127.0.0.1,lport=22`
  const { code, out } = await runSshd(config, ['-T', '-C', connection])
  if (code !== 0) throw new KeymanError('denied', `sshd -T fails: ${firstLine(out)}`)
  const answers = new Map<string, string[]>()
  for (const line of out.split('\n')) {
    const [, keyword, value = ''] = /^(\S+)\s*(.*?)\s*$/.exec(line.trim()) ?? []
    // Keywords are printed in lower case by older versions, and as they are spelled by newer ones (seen in 10.5).
    const name = keyword?.toLowerCase()
    if (name !== undefined) answers.set(name, [...(answers.get(name) ?? []), value])
  }
  return answers
}

async function checkInUseFor(config: AgentConfig, login: string): Promise<void> {
  const answers = await askSshd(config, login, '127.0.0.1')
  const missing = ourSettings(config).find(([keyword, file]) => !answers.get(keyword.toLowerCase())?.includes(file))
  if (missing === undefined) return
  const whose = login === ANYBODY ? '' : ` for ${login}`
  throw new KeymanError('denied', `sshd does not use our files${whose}: '${missing.join(' ')}' is not in force`, {
    hint:
      login === ANYBODY
        ? `${config.sshdConfig} must have the line 'Include ${config.dropIn}' above other settings of this kind`
        : `a Match block of ${config.sshdConfig} may say otherwise for ${login}; look with: sshd -T -C user=${login}`,
  })
}

/** `ssh-keygen -Q`: throws `denied` unless it finds the canary revoked in the KRL. */
export async function checkCanaryRevoked(config: AgentConfig, krlFile: string, canaryFile: string): Promise<void> {
  const { code, out } = await run(config.sshKeygen, ['-Q', '-f', krlFile, canaryFile])
  if (code === 0 || !out.includes('REVOKED'))
    throw new KeymanError('denied', `ssh-keygen -Q does not find the canary revoked in ${krlFile}: ${firstLine(out)}`)
}

/** Changes when sshd's binary or a file of its configuration is replaced, or another login has a file: then it is asked anew. */
export function fingerprintOfSshd(config: AgentConfig): string {
  const files = [config.sshd, config.dropIn, ...configurationFiles(config)].map(path => {
    const s = statSync(path, { throwIfNoEntry: false })
    return s ? `${path}:${s.ino}:${s.size}:${s.mtimeMs}` : `${path}:none`
  })
  return [...files, ...loginsOf(config)].join(' ')
}

/** Empty where its configuration cannot be read: whoever has to know why asks for the other. */
export function fingerprintIfReadable(config: AgentConfig): string {
  try {
    return fingerprintOfSshd(config)
  } catch {
    return ''
  }
}

/** Those with a principals file of ours, in order. */
export function loginsOf(config: AgentConfig): string[] {
  try {
    return readdirSync(sshdFiles(config).principals).filter(isLogin).sort()
  } catch {
    return [] // There is none before the first state.
  }
}

export const firstLine = (text: string): string => text.trim().split('\n')[0]?.slice(0, 300) ?? ''
