import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { removeFile } from './atomic-write.ts'
import { loadConfig } from './config.ts'
import type { Log } from './log.ts'
import { reload, testConfiguration } from './sshd.ts'
import { hostCertificateFiles, sshdFiles } from './sshd-files.ts'

/**
 * Takes everything of KeyMan off this machine. The drop-in goes first and sshd reads its configuration before anything
 * else goes: with a KRL that is named but missing, sshd refuses every key, the break-glass ones too.
 */
export async function leave(stateFolder: string, log: Log): Promise<void> {
  const config = loadConfig(stateFolder)
  const files = sshdFiles(config)
  removeFile(config.dropIn)
  await testConfiguration(config)
  log.info(await reload(config))
  for (const path of [...hostCertificateFiles(config), files.userAuthorities, files.krl]) removeFile(path)
  if (existsSync(files.principals)) {
    for (const name of readdirSync(files.principals)) removeFile(join(files.principals, name))
    rmSync(files.principals, { recursive: true })
  }
  rmSync(stateFolder, { recursive: true, force: true })
}
