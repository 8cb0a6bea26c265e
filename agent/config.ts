import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { utf8 } from '#shared/bytes.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { isHostName, printable } from '#shared/names.ts'
import { isSshdPath, SSHD_PATH_EXPECTED } from '#shared/ssh/index.ts'
import { writeAtomically } from './state/atomic-write.ts'

/**
 * `agent.json` in the state folder: what this machine alone decides. The server never names a path, owner, mode or
 * command (invariant 14); it sends documents of known kinds, and here stands where they go.
 */

const path = z.string().max(400).refine(isSshdPath, SSHD_PATH_EXPECTED)

/** A path as a flag gives it, made absolute. Throws `invalid-input` that names the flag. */
export function pathOfFlag(flag: string, given: string): string {
  const absolute = resolve(given)
  if (path.safeParse(absolute).success) return absolute
  throw invalid(`--${flag}`, `${printable(absolute)} ${SSHD_PATH_EXPECTED}`)
}

export const agentConfig = z.strictObject({
  version: z.literal(1),
  /** The machines' address. */
  url: z.url({ protocol: /^https$/ }),
  organisation: z.string().max(63),
  host: z.string().refine(isHostName),
  /** The root of trust as it was pinned at join. */
  rootFingerprint: z.string().regex(/^SHA256:[A-Za-z0-9+/]{43}$/),
  /** Where authorities, principals, KRL and host certificates are written. */
  sshdFolder: path,
  /** The file that makes sshd read them; `sshd_config` must include it. */
  dropIn: path,
  sshdConfig: path,
  sshd: path,
  sshKeygen: path,
  /** The public files of the host keys that get a certificate. The private key lies beside, without `.pub`. */
  hostKeys: z.array(path).min(1).max(8),
  /** How sshd is told to read its configuration again. */
  reload: z.union([
    z.strictObject({ command: z.array(z.string().min(1).max(400)).min(1).max(16) }),
    z.strictObject({ pidFile: path }),
  ]),
  /** Where sshd says who was let in; the machine's journal, if it has one, unless given. A file must be sshd's own (`sshd -E`). */
  sshdLog: z.union([z.literal('journal'), z.literal('none'), path]).optional(),
})
export type AgentConfig = z.infer<typeof agentConfig>

export const configFile = (stateFolder: string): string => join(stateFolder, 'agent.json')

/** Checks a configuration. Throws `invalid-input` that names file and key. */
export function checkConfig(value: unknown, file: string): AgentConfig {
  const result = agentConfig.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const key = issue?.path.join('.') ?? ''
  throw new KeymanError('invalid-input', `${file}: ${key ? `${key}: ` : ''}${issue?.message ?? 'not valid'}`, {
    fields: [{ field: key, message: issue?.message ?? 'not valid' }],
  })
}

/** Throws `not-found` where this machine has not joined. */
export function loadConfig(stateFolder: string): AgentConfig {
  const file = configFile(stateFolder)
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new KeymanError('not-found', `${file} cannot be read: this machine has not joined`, {
      hint: 'keyman-agent join --token-file FILE',
      cause: error,
    })
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new KeymanError('invalid-input', `${file} is not JSON`)
  }
  return checkConfig(value, file)
}

export function saveConfig(stateFolder: string, config: AgentConfig): void {
  writeAtomically(configFile(stateFolder), utf8(`${JSON.stringify(config, undefined, 2)}\n`), 0o600)
}
