import * as nodeFs from 'node:fs'
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { equalBytes, fromUtf8, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { isLogin, printable } from '#shared/names.ts'
import { decodeKrl, formatPublicKey, parsePublicKey } from '#shared/ssh/index.ts'
import type { AgentConfig } from '../config.ts'
import { checkCanaries, type VerifiedState } from '../server/verify-state.ts'
import { sshdFiles } from '../sshd/files.ts'
import { differs, type ExpiryStyle, formatPrincipalsFile } from '../sshd/principals-file.ts'
import { ensureFolder, type FileSystem, removeFile, removeTemporaries, writeAtomically } from '../state/atomic-write.ts'

/** Canaries lie in the state folder, as files that `ssh-keygen -Q` takes. */
export const canaryFile = (stateFolder: string, index: number): string => join(stateFolder, `canary-${index}-cert.pub`)

/**
 * Writes the documents of a verified state, in an order in which nobody gets in who shouldn't, wherever it is cut off:
 * first the KRL, then logins that are to go, then those that are to be, then the authorities. The drop-in comes after
 * all of this (`settle.ts`): sshd refuses every key while a KRL that its configuration names is missing.
 */
export function writeDocuments(
  state: VerifiedState,
  to: { readonly config: AgentConfig; readonly stateFolder: string; readonly style: ExpiryStyle },
  fs: FileSystem = nodeFs,
): void {
  const files = sshdFiles(to.config)
  // Everything is made before anything is written: a part that does not fit changes nothing.
  const principals = [...state.principals].map(([login, lines]) => {
    if (!isLogin(login)) throw new KeymanError('denied', `${printable(login)} is not a Unix login`)
    return { path: join(files.principals, login), text: formatPrincipalsFile(lines, to.style) }
  })
  const authorities = state.userAuthorities.map(key => `${formatPublicKey(key, 'keyman')}\n`).join('')
  ensureFolder(files.folder, 0o755, fs)
  ensureFolder(files.principals, 0o755, fs)
  removeTemporaries(files.folder, fs)
  removeTemporaries(files.principals, fs)

  writeAtomically(files.krl, state.krl.bytes, 0o644, fs)
  const wanted = new Set(principals.map(file => file.path))
  for (const name of fs.readdirSync(files.principals)) {
    const path = join(files.principals, name)
    if (!wanted.has(path)) removeFile(path, fs)
  }
  for (const file of principals) writeAtomically(file.path, utf8(file.text), 0o644, fs)
  writeAtomically(files.userAuthorities, utf8(authorities), 0o644, fs)
  for (const [i, canary] of state.canaries.entries())
    writeAtomically(canaryFile(to.stateFolder, i), utf8(`${canary.line}\n`), 0o644, fs)
}

/**
 * Reads back what lies there, as sshd will read it: principals by its line rules, the KRL by our decoder with the canary
 * in it. Throws `denied` that names the file; only after this may anybody say 'in force'.
 */
export function readBack(state: VerifiedState, config: AgentConfig, style: ExpiryStyle): void {
  const files = sshdFiles(config)
  const there = readdirSync(files.principals).sort()
  const wanted = [...state.principals.keys()].sort()
  if (there.join('\n') !== wanted.join('\n'))
    throw wrong(files.principals, 'does not hold exactly the logins of the desired state')
  for (const [login, lines] of state.principals) {
    const path = join(files.principals, login)
    const difference = differs(read(path), lines, style)
    if (difference !== undefined) throw wrong(path, difference)
  }
  const authorities = read(files.userAuthorities)
    .trimEnd()
    .split('\n')
    .map(line => parsePublicKey(line, files.userAuthorities))
  const same =
    authorities.length === state.userAuthorities.length &&
    authorities.every((key, i) => equalBytes(key.blob, state.userAuthorities[i]?.blob ?? new Uint8Array()))
  if (!same) throw wrong(files.userAuthorities, 'does not hold exactly the trusted user authorities')
  plainFile(files.krl)
  const krl = decodeKrl(readFileSync(files.krl), files.krl)
  if (krl.version !== state.krl.version) throw wrong(files.krl, `is version ${krl.version}`)
  checkCanaries(
    krl,
    state.canaries.map(canary => canary.certificate),
    state.userAuthorities,
  )
}

function read(path: string): string {
  plainFile(path)
  return fromUtf8(readFileSync(path))
}

function plainFile(path: string): void {
  const entry = lstatSync(path)
  if (!entry.isFile() || (entry.mode & 0o022) !== 0) throw wrong(path, 'is a link, or can be written by others')
}

const wrong = (path: string, why: string): KeymanError => new KeymanError('denied', `read back: ${path} ${why}`)
