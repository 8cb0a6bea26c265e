import { existsSync, readdirSync, renameSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { configFile, loadConfig } from '../config.ts'
import type { Log } from '../log.ts'
import { hostCertificateFiles, sshdFiles } from '../sshd/files.ts'
import { reload } from '../sshd/reload.ts'
import { testConfiguration } from '../sshd/sshd.ts'
import { removeFile, removeTemporaries } from '../state/atomic-write.ts'

/**
 * Takes everything of KeyMan off this machine. The drop-in goes first and sshd reads its configuration before anything
 * else goes: with a KRL that is named but missing, sshd refuses every key, the break-glass ones too.
 */
export async function leave(stateFolder: string, log: Log): Promise<void> {
  const leaving = `${stateFolder}.leaving`
  const joined = existsSync(configFile(stateFolder))
  // Where leaving failed half-way, it is there already.
  const config = loadConfig(joined || !existsSync(leaving) ? stateFolder : leaving)
  const files = sshdFiles(config)
  // An agent that runs ends without it, and writes nothing meanwhile, least of all the drop-in again.
  if (joined) {
    rmSync(leaving, { recursive: true, force: true })
    renameSync(stateFolder, leaving)
  }
  removeFile(config.dropIn)
  await testConfiguration(config)
  log.info(await reload(config))
  for (const path of [...hostCertificateFiles(config), files.userAuthorities, files.krl]) removeFile(path)
  if (existsSync(files.principals)) {
    for (const name of readdirSync(files.principals)) removeFile(join(files.principals, name))
    rmSync(files.principals, { recursive: true })
  }
  if (existsSync(files.folder)) {
    removeTemporaries(files.folder)
    if (readdirSync(files.folder).length === 0) rmdirSync(files.folder)
  }
  rmSync(leaving, { recursive: true, force: true })
}
