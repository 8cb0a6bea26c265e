import { existsSync, readFileSync } from 'node:fs'
import { equalBytes } from '#shared/bytes.ts'
import type { AgentConfig } from '../config.ts'
import type { Log } from '../log.ts'
import { dropInText, hashOfFiles, sshdFiles } from '../sshd/files.ts'
import { reload } from '../sshd/reload.ts'
import { checkCanaryRevoked, checkInUse, fingerprintOfSshd, testConfiguration } from '../sshd/sshd.ts'
import { removeFile, writeAtomically } from '../state/atomic-write.ts'
import { loadMemory, type Memory, saveMemory } from '../state/memory.ts'
import { canaryFile } from './apply-state.ts'

/** What this process knows of the last time that sshd, and the server for its time, was asked. */
export type Asked = {
  fingerprint: string | undefined
  /** By `performance.now()`. */
  clock?: number
  /** What else than its name this host is called, as the server last said. */
  aliases?: readonly string[]
}

type Place = { readonly config: AgentConfig; readonly stateFolder: string; readonly log: Log }

/** Whether nobody else has changed what this agent wrote for sshd. */
export const filesAreAsLeft = (config: AgentConfig, memory: Memory): boolean =>
  memory.filesHash !== undefined && hashOfFiles(config) === memory.filesHash

/**
 * Brings sshd in line with the files: the drop-in, `sshd -t` before a reload, and where anything of sshd's has changed
 * (or `always`) the question to sshd and ssh-keygen themselves whether they use our files and see the canary revoked.
 * Throws `denied` with what they say; a drop-in that sshd refuses is taken back first, since the next start would fail.
 *
 * Remembers the files with the drop-in it wrote only where they were as this agent left them, or where the caller has
 * just `written` and read them back: what somebody else changed is never taken for our own.
 */
export async function settle(
  place: Place,
  asked: Asked,
  { always = false, written = false }: { readonly always?: boolean; readonly written?: boolean } = {},
): Promise<void> {
  const { config, stateFolder, log } = place
  const files = sshdFiles(config)
  if (!existsSync(files.krl)) return // sshd refuses every key while a KRL that it is told of is missing.
  const memory = loadMemory(stateFolder)
  const ours = written || filesAreAsLeft(config, memory)
  const before = existsSync(config.dropIn) ? readFileSync(config.dropIn) : undefined
  const wanted = dropInText(config)
  const changes = before === undefined || !equalBytes(before, wanted)
  if (changes) {
    // Remembered before it is written: an agent that dies in between still reloads sshd.
    remember(stateFolder, { reloadPending: true })
    writeAtomically(config.dropIn, wanted, 0o644)
  }
  // Taken before the first wait: what anybody changes while sshd is asked is not in it.
  const filesHash = ours ? hashOfFiles(config) : memory.filesHash
  if (changes) {
    try {
      await testConfiguration(config)
    } catch (error) {
      if (before === undefined) removeFile(config.dropIn)
      else writeAtomically(config.dropIn, before, 0o644)
      throw error
    }
  }
  const fingerprint = fingerprintOfSshd(config)
  const ask = always || asked.fingerprint !== fingerprint
  if (ask) {
    await testConfiguration(config)
    for (let i = 0; i < memory.canary.length; i++)
      await checkCanaryRevoked(config, files.krl, canaryFile(stateFolder, i))
  }
  if (loadMemory(stateFolder).reloadPending) {
    await testConfiguration(config)
    log.info(await reload(config))
    remember(stateFolder, { reloadPending: false })
  }
  // After it: where somebody else's block contradicts, the rest is in force at least.
  if (ask) await checkInUse(config)
  asked.fingerprint = fingerprint
  remember(stateFolder, { filesHash })
}

/** Changes a few fields of the memory. */
export function remember(stateFolder: string, change: Partial<Memory>): void {
  saveMemory(stateFolder, { ...loadMemory(stateFolder), ...change })
}
