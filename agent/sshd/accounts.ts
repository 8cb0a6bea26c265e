import { constants, readFileSync } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { printable } from '#shared/names.ts'
import type { Homes } from './homes.ts'
import { run } from './sshd.ts'

/** A Unix account, as sshd meets it. */
export type Account = {
  readonly name: string
  readonly uid: number
  readonly home: string
  readonly shell: string
  /** Of all its groups, where anything is decided by them. */
  readonly groups: readonly string[]
  /** Its password begins with `!`: an sshd without PAM lets nobody in as it. */
  readonly locked: boolean
  /** The last day on which it is good, where it has one. */
  readonly lastDay: Date | undefined
}

const DAY_MS = 86_400_000

/**
 * By the system's own look-up, so that a directory's accounts are found too: all in one, each by its name. Their groups are
 * another question (`groupsOf`), which few configurations ask.
 */
export async function findAccounts(names: readonly string[]): Promise<Map<string, Account>> {
  const [persons, secrets] = [await linesOf('passwd', names), await linesOf('shadow', names)]
  const found = new Map<string, Account>()
  for (const name of names) {
    const [, , uid = '', , , home = '/', shell = ''] = persons.get(name) ?? []
    if (!/^[0-9]+$/.test(uid)) continue
    const [, password = '', , , , , , expires = ''] = secrets.get(name) ?? []
    const days = /^[0-9]+$/.test(expires) ? Number(expires) : undefined
    found.set(name, {
      name,
      uid: Number(uid),
      home,
      shell: shell === '' ? '/bin/sh' : shell,
      groups: [],
      locked: password.startsWith('!'),
      lastDay: days === undefined ? undefined : new Date(days * DAY_MS),
    })
  }
  return found
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
export async function accountProblems(account: Account, usePam: boolean, now: Date, homes: Homes): Promise<string[]> {
  const found: string[] = []
  // With PAM sshd leaves it to that, which lets locked accounts in by a key.
  if (account.locked && !usePam) found.push("is locked, and without PAM sshd lets nobody in as it: usermod -p '*'")
  if (account.lastDay !== undefined && now.getTime() >= account.lastDay.getTime() + DAY_MS)
    found.push(`has ended on ${account.lastDay.toISOString().slice(0, 10)}: chage -E`)
  const shell = printable(account.shell)
  // It may lie anywhere, in a home too.
  const isProgram = await homes.ask(account.shell, () => isExecutable(account.shell)).catch(() => undefined)
  if (isProgram === undefined) found.push(`has the shell ${shell}, which could not be read`)
  else if (!isProgram) found.push(`has the shell ${shell}, which is no program here`)
  else if (/\/(nologin|false)$/.test(account.shell))
    found.push(`has the shell ${shell}, which ends each session at once`)
  return found
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK)
    return (await stat(path)).isFile()
  } catch {
    return false
  }
}

async function linesOf(database: 'passwd' | 'shadow', names: readonly string[]): Promise<Map<string, string[]>> {
  const looked = names.length === 0 ? undefined : await run('getent', [database, ...names]).catch(() => undefined)
  // Without getent: the files alone.
  const text = looked?.out ?? readOrEmpty(`/etc/${database}`)
  const lines = text.split('\n').map(line => line.split(':'))
  // Of two with one name the first counts.
  return new Map(lines.reverse().map(line => [line[0] ?? '', line]))
}

/** Of all its groups the names. */
export async function groupsOf(name: string): Promise<string[]> {
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
