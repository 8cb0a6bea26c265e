import { existsSync, readFileSync } from 'node:fs'
import { z } from 'zod'
import { type Finding, finding, MAX_FINDINGS, MAX_FINDINGS_BYTES } from '#shared/api/fields.ts'
import { utf8 } from '#shared/bytes.ts'
import { printable } from '#shared/names.ts'
import { parsePublicKey } from '#shared/ssh/index.ts'
import { shownAtMost } from '#shared/text.ts'
import { told } from '#shared/told.ts'
import { type AgentConfig, agentConfig } from '../config.ts'
import { type Account, accountProblems } from './accounts.ts'
import { accountsWithFiles, askOfAccounts, keySetting, keySettings, SOMEWHERE } from './ask-accounts.ts'
import { describeForeign, foreignSettings, keyFilesOfSome, narrowsSome } from './config.ts'
import { hostCertificateFiles, sshdFiles } from './files.ts'
import { type Homes, stateOf } from './homes.ts'
import {
  type Answers,
  accessProblems,
  letsKeysIn,
  showsHostCertificate,
  shutsAllOut,
  takenKeyTypes,
} from './may-log-in.ts'
import { keyFiles, readPlainKeys } from './plain-keys.ts'
import { ANYBODY, askSshd, fingerprintIfReadable } from './sshd.ts'

const MOST_FINGERPRINTS = 8
/** In order: what keeps people out is looked for first. */
const ORDER: readonly Finding['about'][] = ['narrows', 'lets-in', 'remark']

/** What was found, which holds for as long as nothing has changed in `places`; `silent`: some home did not answer, so that whoever asks again soon waits again. */
export const foundSchema = z.object({
  places: z.array(z.string()),
  by: z.string(),
  findings: z.array(finding).max(MAX_FINDINGS),
  silent: z.boolean(),
})
export type Found = Readonly<z.infer<typeof foundSchema>>

/** What the process is asked, as JSON; `now`: RFC 3339. */
export const lookSchema = z.object({ config: agentConfig, now: z.iso.datetime(), before: foundSchema.optional() })
export type Look = z.infer<typeof lookSchema>

type Say = (about: Finding['about'], message: string, more?: Omit<Finding, 'about' | 'message'>) => void

/**
 * What this host's own configuration says beside ours: what narrows who gets in, and what lets others in. It is told to
 * the server with 'in force', and by doctor; nothing of it keeps from being in force what was written. Never throws.
 *
 * Homes are waited for and may never answer: so this is run in a process of its own (`look-around.ts`).
 */
export async function findAround(config: AgentConfig, now: Date, homes: Homes, before?: Found): Promise<Found> {
  if (
    before !== undefined &&
    [whatCounts(config, now), ...(await statesOf(before.places, homes))].join(' ') === before.by
  )
    return before
  const places = ['/etc/passwd', '/etc/shadow', '/etc/group', '/etc/nologin', sshdFiles(config).userAuthorities]
  // Each state is taken before what it stands for is read: what changes meanwhile is looked at again.
  const states = [whatCounts(config, now), ...(await statesOf(places, homes))]
  const found: Finding[] = []
  const say: Say = (about, message, { login, ...more } = {}) =>
    void found.push({
      ...{ about, message: shownAtMost(message, 500), ...more },
      ...(login === undefined ? {} : { login: shownAtMost(login, 64) }),
    })
  try {
    const ofAnybody = await askSshd(config, ANYBODY, SOMEWHERE)
    ofEverybody(config, ofAnybody, say)
    const accounts = await accountsWithFiles(config, keySettings(config, ofAnybody), homes)
    const files = accounts.flatMap(account => account.files)
    places.push(...files.map(({ path }) => path))
    states.push(...files.map(({ state }) => state))
    for (const { name, account, isGranted } of accounts)
      if (account === undefined && isGranted)
        say('narrows', `there is no Unix account ${name} here: nobody gets in as it`, { login: name })
    const asked = await askOfAccounts(config, accounts, ofAnybody)
    for (const { account, answers, isGranted } of asked) if (isGranted) await ofLogin(account, answers, now, homes, say)
    const ofSome = keyFilesOfSome(config)
    // Side by side, so that one that does not answer keeps nobody else's from being read.
    await Promise.all(
      asked
        .filter(({ account, answers }) => letsKeysIn(answers, account))
        .flatMap(({ account, answers }) => {
          const always = keyFiles(keySetting(answers), account)
          const forSome = ofSome.flatMap(({ value }) => keyFiles(value, account)).filter(file => !always.includes(file))
          return [
            ...always.map(file => ofPlainKeys(account, { file, when: '' }, homes, say)),
            ...[...new Set(forSome)].map(file =>
              ofPlainKeys(account, { file, when: ', for some connections' }, homes, say),
            ),
          ]
        }),
    )
  } catch (error) {
    say('remark', `what else decides who gets in could not be looked at: ${told(error).message}`)
  }
  return { places, by: states.join(' '), findings: atMost(found), silent: homes.silent }
}

function ofEverybody(config: AgentConfig, answers: Answers, say: Say): void {
  for (const why of shutsAllOut(answers, authorityTypes(config))) say('narrows', `nobody gets in by KeyMan: ${why}`)
  const taken = takenKeyTypes(answers)
  if (taken.length > 0 && !taken.includes('ed25519'))
    say(
      'narrows',
      `PubkeyAcceptedAlgorithms takes no Ed25519 keys: keyman login --key-type ${taken.join(' or --key-type ')}`,
      { keyTypes: taken },
    )
  for (const foreign of narrowsSome(config))
    say('narrows', `for some connections ${describeForeign(foreign)} counts: who gets in there cannot be vouched for`)
  if (existsSync('/etc/nologin')) say('narrows', 'only root gets in while there is a file /etc/nologin')
  for (const foreign of foreignSettings(config, 'now'))
    if (foreign.keyword === 'AuthorizedKeysCommand')
      say('lets-in', `plain keys are let in beside KeyMan by ${describeForeign(foreign)}`)
  const files = keySetting(answers).split(' ')
  for (const foreign of keyFilesOfSome(config))
    if (foreign.value.split(' ').some(file => !files.includes(file)))
      say('lets-in', `for some connections plain keys are let in beside KeyMan by ${describeForeign(foreign)}`)
  ofHostKeys(config, answers, say)
}

async function ofLogin(account: Account, answers: Answers, now: Date, homes: Homes, say: Say): Promise<void> {
  const usePam = answers.get('usepam')?.[0] === 'yes'
  const ofSshd = accessProblems(answers, account).map(({ why }) => why)
  for (const problem of [...ofSshd, ...(await accountProblems(account, usePam, now, homes))])
    say('narrows', `${account.name} ${problem}`, { login: account.name })
}

async function ofPlainKeys(
  account: Account,
  { file, when }: { readonly file: string; readonly when: string },
  homes: Homes,
  say: Say,
): Promise<void> {
  const login = account.name
  try {
    const keys = await readPlainKeys(file, homes)
    if (keys === undefined || keys.count === 0) return
    const what = keys.count === 1 ? '1 plain key' : `${keys.count} plain keys`
    const authorities = keys.authorities === 0 ? '' : `, of which authorities ${keys.authorities},`
    const fingerprints = keys.fingerprints.slice(0, MOST_FINGERPRINTS)
    const message = `${what} of ${printable(file)}${authorities} still let in as ${login}${when}: no grant or revocation reaches them`
    say('lets-in', message, { login, fingerprints })
  } catch (error) {
    const why = error instanceof Error ? error.message : ''
    say('remark', `whether plain keys of ${printable(file)} let in as ${login} could not be read: ${why}`, { login })
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

/** Accounts end by the day; the rest is sshd's own configuration. */
const whatCounts = (config: AgentConfig, now: Date): string =>
  `${now.toISOString().slice(0, 10)} ${fingerprintIfReadable(config)}`

const statesOf = (places: readonly string[], homes: Homes): Promise<string[]> =>
  Promise.all(places.map(path => stateOf(path, homes)))

/** As many as go into one message to the server. */
export function atMost(found: readonly Finding[]): Finding[] {
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
