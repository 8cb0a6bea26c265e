import { spawnSync } from 'node:child_process'
import { lstatSync, realpathSync, statSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import { onFile } from '../context/file-errors.ts'
import { readIfThere, remove, writeFile } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import { ask, canAsk, remark } from '../terminal/terminal.ts'
import { hasInclude, includeHolds, includeLine, withInclude, withoutInclude } from './config.ts'
import { sshFiles } from './files.ts'
import type { Included } from './lines.ts'

/**
 * The one line in ~/.ssh/config. Where that file is a link (dotfiles), what it leads to is rewritten and the link stays.
 * A file that was made for our line alone goes with it. Gives whether something was changed.
 */
export function changeInclude(folders: Folders, change: 'install' | 'remove'): boolean {
  const { userConfig } = sshFiles(folders)
  const path = followed(userConfig)
  // Byte for byte: the person's file may be in any encoding, and our line is ASCII.
  const before = readIfThere(path, 'latin1')
  const after = (change === 'install' ? withInclude : withoutInclude)(before ?? '', ourFile(folders))
  if (after === (before ?? '')) return false
  if (after === '' && path === userConfig) remove(path)
  // The person's own mode stays, but that ssh refuses a configuration that others can write.
  else
    writeFile(
      path,
      Uint8Array.from(after, c => c.charCodeAt(0)),
      before === undefined ? 0o600 : onFile(path, 'read', () => statSync(path).mode & 0o755),
    )
  return true
}

function followed(path: string): string {
  if (!onFile(path, 'read', () => lstatSync(path, { throwIfNoEntry: false }))?.isSymbolicLink()) return path
  try {
    return realpathSync(path)
  } catch {
    throw new KeymanError('conflict', `${path} is a link that leads nowhere`, { hint: 'make the file that it names' })
  }
}

/** How ssh reads our file: for every host, in a block for some alone, or not at all. */
export function includeState(folders: Folders): 'holds' | 'in a block' | 'absent' {
  const text = readIfThere(sshFiles(folders).userConfig) ?? ''
  const file = ourFile(folders)
  return includeHolds(text, file) ? 'holds' : hasInclude(text, file) ? 'in a block' : 'absent'
}

/** The file that ssh reads where that is another than ours: it goes by the passwd entry and not by HOME. */
export function readBySsh(folders: Folders): string | undefined {
  const path = join(passwdHome(), '.ssh', 'config')
  return path === sshFiles(folders).userConfig ? undefined : path
}

/** Without an entry ssh itself does not run; nothing of ours fails for it. */
function passwdHome(): string {
  try {
    return userInfo().homedir
  } catch {
    return homedir()
  }
}

/** What follows `Added`: whether plain ssh works then. */
export function afterInstall(folders: Folders): string {
  const { userConfig } = sshFiles(folders)
  const other = readBySsh(folders)
  return other === undefined
    ? 'plain ssh works now. Undo: keyman ssh config --remove'
    : `but plain ssh reads ${other}, since it goes by the passwd entry and not by HOME: ssh -F ${userConfig} works`
}

/** Our file as an `Include` in the person's configuration may name it. */
export function ourFile(folders: Folders): Included {
  const { include, userConfig } = sshFiles(folders)
  return {
    path: include,
    home: dirname(dirname(userConfig)),
    variable: name => (expandsVariables() ? process.env[name] : undefined),
  }
}

/** OpenSSH does so in an `Include` from 9.9 on; before, the words stand for themselves. Asked only where a line has a variable. */
function expandsVariables(): boolean {
  const [, major = 0, minor = 0] =
    /OpenSSH_(\d+)\.(\d+)/.exec(spawnSync('ssh', ['-V'], { encoding: 'utf8' }).stderr ?? '') ?? []
  return Number(major) > 9 || (Number(major) === 9 && Number(minor) >= 9)
}

/** Where it is kept that the person was asked, so that it is offered once. */
export const offeredMark = (folders: Folders): string => join(folders.config, 'ssh-config-offered')

/** Offers the line once, at the first login; `--ssh-config` answers where nobody can be asked. */
export async function offerInclude(folders: Folders, answer: string | undefined): Promise<void> {
  if (includeState(folders) === 'holds' || answer === 'no') return
  const { include, userConfig } = sshFiles(folders)
  if (answer === undefined) {
    if (readIfThere(offeredMark(folders)) !== undefined) return
    if (!canAsk()) return remark('Plain ssh needs one line in ~/.ssh/config: keyman ssh config --install adds it')
    remark(`Plain ssh needs one line on top of ${userConfig}:  ${includeLine(include)}`)
    const agreed = await ask('Add it? (keyman ssh config --remove takes it out again)', false)
    writeFile(offeredMark(folders), agreed ? 'yes\n' : 'no\n', 0o600)
    if (!agreed) return remark('Left as it is. Later: keyman ssh config --install')
  }
  changeInclude(folders, 'install')
  remark(`Added; ${afterInstall(folders)}`)
}
