import { existsSync, readFileSync, statSync } from 'node:fs'
import { type Finding, MAX_FINDINGS, MAX_FINDINGS_BYTES } from '#shared/api/fields.ts'
import { utf8 } from '#shared/bytes.ts'
import { printable } from '#shared/names.ts'
import { parsePublicKey } from '#shared/ssh/index.ts'
import { shownAtMost } from '#shared/text.ts'
import { told } from '#shared/told.ts'
import type { AgentConfig } from '../config.ts'
import { type Account, accountProblems, findAccount, ownAccounts } from './accounts.ts'
import { describeForeign, foreignSettings, narrowsSome } from './config.ts'
import { hostCertificateFiles, sshdFiles } from './files.ts'
import {
  type Answers,
  accessProblems,
  letsKeysIn,
  showsHostCertificate,
  shutsAllOut,
  takenKeyTypes,
} from './may-log-in.ts'
import { keyFiles, readPlainKeys } from './plain-keys.ts'
import { ANYBODY, askSshd, fingerprintOfSshd, loginsOf } from './sshd.ts'

/** Of documentation (RFC 5737): what is said of a login is said as for a stranger's address. */
const SOMEWHERE = '192.0.2.1'
/** Whose plain keys are looked for. */
const MOST_ACCOUNTS = 200
const MOST_FINGERPRINTS = 8
/** In order: what keeps people out is looked for first. */
const ORDER: readonly Finding['about'][] = ['narrows', 'lets-in', 'remark']

/** What was found, which holds for as long as nothing has changed in `places`. */
export type Found = { readonly places: readonly string[]; readonly by: string; readonly findings: readonly Finding[] }

type Say = (about: Finding['about'], message: string, more?: Omit<Finding, 'about' | 'message'>) => void

/**
 * What this host's own configuration says beside ours: what narrows who gets in, and what lets others in. It is told to
 * the server with 'in force', and by doctor; nothing of it keeps from being in force what was written. Never throws.
 */
export async function lookAround(config: AgentConfig, now: Date, before?: Found): Promise<Found> {
  if (before !== undefined && stateOf(config, before.places, now) === before.by) return before
  const places = ['/etc/passwd', '/etc/shadow', '/etc/group', '/etc/nologin', sshdFiles(config).userAuthorities]
  const found: Finding[] = []
  const say: Say = (about, message, { login, ...more } = {}) =>
    void found.push({
      ...{ about, message: shownAtMost(message, 500), ...more },
      ...(login === undefined ? {} : { login: shownAtMost(login, 64) }),
    })
  try {
    ofEverybody(config, await askSshd(config, ANYBODY, SOMEWHERE), say)
    const logins = loginsOf(config)
    for (const login of new Set([...logins, ...ownAccounts().slice(0, MOST_ACCOUNTS)])) {
      const account = await findAccount(login)
      const isGranted = logins.includes(login)
      if (account === undefined) {
        if (isGranted) say('narrows', `there is no Unix account ${login} here: nobody gets in as it`, { login })
        continue
      }
      const answers = await askSshd(config, login, SOMEWHERE)
      if (isGranted) ofLogin(account, answers, now, say)
      const files = keyFiles(answers.get('authorizedkeysfile')?.[0] ?? 'none', account)
      places.push(...files)
      if (letsKeysIn(answers, account)) for (const file of files) ofPlainKeys(account, file, say)
    }
  } catch (error) {
    say('remark', `what else decides who gets in could not be looked at: ${told(error).message}`)
  }
  return { places, by: stateOf(config, places, now), findings: atMost(found) }
}

function ofEverybody(config: AgentConfig, answers: Answers, say: Say): void {
  for (const why of shutsAllOut(answers, authorityTypes(config))) say('narrows', `nobody gets in by KeyMan: ${why}`)
  const taken = takenKeyTypes(answers)
  if (taken.length > 0 && !taken.includes('ed25519'))
    say(
      'narrows',
      `PubkeyAcceptedAlgorithms takes no Ed25519 keys: keyman login --key-type ${taken.join(' or --key-type ')}`,
    )
  for (const foreign of narrowsSome(config))
    say('narrows', `for some connections ${describeForeign(foreign)} counts: who gets in there cannot be vouched for`)
  if (existsSync('/etc/nologin')) say('narrows', 'only root gets in while there is a file /etc/nologin')
  for (const foreign of foreignSettings(config, 'now'))
    if (foreign.keyword === 'AuthorizedKeysCommand')
      say('lets-in', `plain keys are let in beside KeyMan by ${describeForeign(foreign)}`)
  ofHostKeys(config, answers, say)
}

function ofLogin(account: Account, answers: Answers, now: Date, say: Say): void {
  const usePam = answers.get('usepam')?.[0] === 'yes'
  const ofSshd = accessProblems(answers, account).map(({ why }) => why)
  for (const problem of [...ofSshd, ...accountProblems(account, usePam, now)])
    say('narrows', `${account.name} ${problem}`, { login: account.name })
}

function ofPlainKeys(account: Account, file: string, say: Say): void {
  const login = account.name
  try {
    const keys = readPlainKeys(file)
    if (keys === undefined || keys.count === 0) return
    const what = keys.count === 1 ? '1 plain key' : `${keys.count} plain keys`
    const authorities = keys.authorities === 0 ? '' : `, of which authorities ${keys.authorities},`
    const fingerprints = keys.fingerprints.slice(0, MOST_FINGERPRINTS)
    const message = `${what} of ${printable(file)}${authorities} still let in as ${login}: no grant or revocation reaches them`
    say('lets-in', message, { login, fingerprints })
  } catch (error) {
    say('remark', `${printable(file)} could not be looked at: ${error instanceof Error ? error.message : ''}`, {
      login,
    })
  }
}

/** Which of sshd's host keys go without a certificate, which are not shown, and why. */
function ofHostKeys(config: AgentConfig, answers: Answers, say: Say): void {
  for (const file of answers.get('hostkey') ?? []) {
    const publicFile = `${file.replace(/\.pub$/, '')}.pub`
    if (config.hostKeys.includes(publicFile) || !existsSync(publicFile)) continue
    say('remark', `the host key ${file} has no certificate, and is left as it was${whyNot(publicFile)}`)
  }
  const types = config.hostKeys.flatMap(file => typeOf(file) ?? [])
  if (hostCertificateFiles(config).length > 0 && !types.some(type => showsHostCertificate(answers, type)))
    say(
      'narrows',
      `clients see no host certificate, and ask about a fingerprint: HostKeyAlgorithms has none for ${types.join(', ')}`,
    )
}

function whyNot(file: string): string {
  try {
    parsePublicKey(readFileSync(file, 'utf8').trim(), file)
    return ''
  } catch (error) {
    return `: ${told(error).message}`
  }
}

const typeOf = (file: string): string | undefined => {
  try {
    return parsePublicKey(readFileSync(file, 'utf8').trim(), file).type
  } catch {
    return undefined
  }
}

function authorityTypes(config: AgentConfig): string[] {
  try {
    const lines = readFileSync(sshdFiles(config).userAuthorities, 'utf8').trim().split('\n')
    return [...new Set(lines.map(line => parsePublicKey(line, 'authority').type))]
  } catch {
    return []
  }
}

function stateOf(config: AgentConfig, places: readonly string[], now: Date): string {
  const stats = places.map(path => {
    try {
      const entry = statSync(path, { throwIfNoEntry: false })
      return entry ? `${entry.ino}:${entry.size}:${entry.mtimeMs}` : 'none'
    } catch {
      // Some of these are their accounts' own: a link to itself there must not keep the host from saying what is in force.
      return 'unreadable'
    }
  })
  // Accounts end by the day.
  return [now.toISOString().slice(0, 10), fingerprintOfSshd(config), ...stats].join(' ')
}

/** As many as go into one message to the server. */
function atMost(found: readonly Finding[]): Finding[] {
  const sorted = ORDER.flatMap(about => found.filter(finding => finding.about === about))
  const fits = (kept: readonly Finding[]) =>
    kept.length <= MAX_FINDINGS && utf8(JSON.stringify(kept)).length <= MAX_FINDINGS_BYTES
  if (fits(sorted)) return sorted
  for (let most = Math.min(sorted.length, MAX_FINDINGS) - 1; ; most--) {
    const left: Finding = { about: 'remark', message: `and ${sorted.length - most} more: keyman-agent doctor` }
    const kept = [...sorted.slice(0, most), left]
    if (most === 0 || fits(kept)) return kept
  }
}
