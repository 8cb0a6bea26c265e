import type { AgentConfig } from '../config.ts'
import { type Account, findAccounts, groupsOf, ownAccounts } from './accounts.ts'
import { asksForLogins, settingsOf } from './config.ts'
import { ABSENT, type Homes, stateOf } from './homes.ts'
import { type Answers, asksForGroups } from './may-log-in.ts'
import { keyFiles } from './plain-keys.ts'
import { askSshd, inTurns, loginsOf } from './sshd.ts'

/** Which accounts there are, and what sshd does with them: by as few questions as tell that. */

/** Of documentation (RFC 5737): what is said of a login is said as for a stranger's address. */
export const SOMEWHERE = '192.0.2.1'
/** Whose plain keys are looked for. */
const MOST_ACCOUNTS = 200

type AccountWithFiles = {
  readonly name: string
  /** Where there is one. */
  readonly account: Account | undefined
  readonly isGranted: boolean
  /** That its plain keys may be in, each with its state before anything of it was read. */
  readonly files: readonly { readonly path: string; readonly state: string }[]
}

/** All that is asked of an account. */
type Asked = { readonly account: Account; readonly answers: Answers; readonly isGranted: boolean }

/** `AuthorizedKeysFile`, as sshd says it. */
export const keySetting = (answers: Answers): string => answers.get('authorizedkeysfile')?.[0] ?? 'none'

/** Every value that `AuthorizedKeysFile` has for any connection. */
export const keySettings = (config: AgentConfig, ofAnybody: Answers): string[] => [
  ...new Set([keySetting(ofAnybody), ...settingsOf(config, 'AuthorizedKeysFile').map(({ value }) => value)]),
]

/** Each account that a person may log in as, with the files that its plain keys may be in. */
export async function accountsWithFiles(
  config: AgentConfig,
  settings: readonly string[],
  homes: Homes,
): Promise<AccountWithFiles[]> {
  const logins = loginsOf(config)
  const names = [...new Set([...logins, ...ownAccounts().slice(0, MOST_ACCOUNTS)])]
  const accounts = await findAccounts(names)
  return Promise.all(
    names.map(async name => {
      const account = accounts.get(name)
      const isGranted = logins.includes(name)
      const paths = account ? new Set(settings.flatMap(setting => keyFiles(setting, account))) : []
      const files = [...paths].map(async path => ({ path, state: await stateOf(path, homes) }))
      return { name, account, isGranted, files: await Promise.all(files) }
    }),
  )
}

/** What sshd does with each of them of whom anything is to be said. One question stands for all where no block tells them apart. */
export async function askOfAccounts(
  config: AgentConfig,
  accounts: readonly AccountWithFiles[],
  ofAnybody: Answers,
): Promise<Asked[]> {
  const each = asksForLogins(config)
  return inTurns(accounts, async ({ name, account, isGranted, files }) => {
    // One that does not say whether it is there may be.
    const mayHaveKeys = files.some(({ state }) => state !== ABSENT)
    if (account === undefined || !(isGranted || mayHaveKeys)) return []
    const answers = each ? await askSshd(config, name, SOMEWHERE) : ofAnybody
    const groups = asksForGroups(answers) ? await groupsOf(name) : []
    return [{ account: { ...account, groups }, answers, isGranted }]
  })
}
