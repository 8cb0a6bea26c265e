import { existsSync, lstatSync, realpathSync } from 'node:fs'
import { dirname } from 'node:path'
import { readIfThere, writeFile } from './files.ts'
import { type Folders, makeFolder } from './folders.ts'
import { hasInclude, withInclude, withoutInclude } from './ssh-config.ts'
import { sshFiles } from './ssh-files.ts'
import { ask, canAsk, remark } from './terminal.ts'

/** The one line in ~/.ssh/config. Where that file is a link (dotfiles), what it leads to is rewritten and the link stays. */
export function changeInclude(folders: Folders, change: 'install' | 'remove'): boolean {
  const { userConfig, include } = sshFiles(folders)
  const path = existsSync(userConfig) && lstatSync(userConfig).isSymbolicLink() ? realpathSync(userConfig) : userConfig
  const before = readIfThere(path) ?? ''
  const after = change === 'install' ? withInclude(before, include) : withoutInclude(before, include)
  if (after === before) return false
  makeFolder(dirname(path))
  writeFile(path, after, 0o600)
  return true
}

export const includeInstalled = (folders: Folders): boolean => {
  const { userConfig, include } = sshFiles(folders)
  return hasInclude(readIfThere(userConfig) ?? '', include)
}

/** Offers the line once, at the first login; `--ssh-config` answers where nobody can be asked. */
export async function offerInclude(folders: Folders, answer: string | undefined): Promise<void> {
  if (includeInstalled(folders) || answer === 'no') return
  const { include } = sshFiles(folders)
  if (answer === undefined && !canAsk())
    return remark('Plain ssh needs one line in ~/.ssh/config: keyman ssh config --install adds it')
  if (
    answer === 'yes' ||
    (await ask(`Add "Include ${include}" on top of ~/.ssh/config, so that plain ssh works?`, true))
  ) {
    changeInclude(folders, 'install')
    remark('Added. Undo: keyman ssh config --remove')
  }
}
