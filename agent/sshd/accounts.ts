import { accessSync, constants, readFileSync, statSync } from 'node:fs'
import { printable } from '#shared/names.ts'
import { run } from './sshd.ts'

/** A Unix account, as sshd meets it. */
export type Account = {
  readonly name: string
  readonly uid: number
  readonly home: string
  readonly shell: string
  /** Of all its groups. */
  readonly groups: readonly string[]
  /** Its password begins with `!`: an sshd without PAM lets nobody in as it. */
  readonly locked: boolean
  /** The last day on which it is good, where it has one. */
  readonly lastDay: Date | undefined
}

const DAY_MS = 86_400_000

/** By the system's own look-up, so that a directory's accounts are found too. `undefined` where there is no such account. */
export async function findAccount(name: string): Promise<Account | undefined> {
  const [, , uid = '', , , home = '/', shell = ''] = (await lineOf('passwd', name)) ?? []
  if (!/^[0-9]+$/.test(uid)) return undefined
  const [, password = '', , , , , , expires = ''] = (await lineOf('shadow', name)) ?? []
  const days = /^[0-9]+$/.test(expires) ? Number(expires) : undefined
  return {
    name,
    uid: Number(uid),
    home,
    shell: shell === '' ? '/bin/sh' : shell,
    groups: await groupsOf(name),
    locked: password.startsWith('!'),
    lastDay: days === undefined ? undefined : new Date(days * DAY_MS),
  }
}

/** Names of those in the machine's own list, which a person may log in as. */
export function ownAccounts(): string[] {
  try {
    return readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .map(line => line.split(':'))
      .filter(([name = '', , , , , , shell = '']) => name !== '' && !/\/(nologin|false|sync)$/.test(shell))
      .map(([name = '']) => name)
  } catch {
    return []
  }
}

/** Why nobody gets in as this account, or not far, whatever sshd's configuration says: each a sentence's end. */
export function accountProblems(account: Account, usePam: boolean, now: Date): string[] {
  const found: string[] = []
  // With PAM sshd leaves it to that, which lets locked accounts in by a key.
  if (account.locked && !usePam) found.push("is locked, and without PAM sshd lets nobody in as it: usermod -p '*'")
  if (account.lastDay !== undefined && now.getTime() >= account.lastDay.getTime() + DAY_MS)
    found.push(`has ended on ${account.lastDay.toISOString().slice(0, 10)}: chage -E`)
  const shell = printable(account.shell)
  if (!isExecutable(account.shell)) found.push(`has the shell ${shell}, which is no program here`)
  else if (/\/(nologin|false)$/.test(account.shell))
    found.push(`has the shell ${shell}, which ends each session at once`)
  return found
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

async function lineOf(database: 'passwd' | 'shadow', name: string): Promise<string[] | undefined> {
  const looked = await run('getent', [database, name]).catch(() => undefined)
  // Without getent: the files alone.
  const text = looked?.out ?? readOrEmpty(`/etc/${database}`)
  return text
    .split('\n')
    .map(line => line.split(':'))
    .find(([first]) => first === name)
}

async function groupsOf(name: string): Promise<string[]> {
  // Groups of a directory have blanks in their names; not every `id` can separate them otherwise.
  for (const [flags, between] of [
    ['-Gnz', '\0'],
    ['-Gn', /\s+/],
  ] as const) {
    const looked = await run('id', [flags, '--', name]).catch(() => undefined)
    if (looked?.code === 0) return looked.out.split(between).filter(Boolean)
  }
  return []
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
