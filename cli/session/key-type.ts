import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { isLoginKeyType, keyTypesOn, LOGIN_KEY_TYPES, type LoginKeyType } from '#shared/login-key-types.ts'
import { usage } from '../terminal/command.ts'

/** What the machine's administrator sets, by a policy of algorithms say; never the person's own file, whose blocks may run programs. */
const SYSTEM_CONFIG = '/etc/ssh/ssh_config'

/** Throws for what is no such type. */
export function parseKeyType(text: string): LoginKeyType {
  if (isLoginKeyType(text)) return text
  throw usage(`--key-type: ${JSON.stringify(text)} is none of ${LOGIN_KEY_TYPES.join(', ')}`)
}

/** The first type that this machine's ssh takes; Ed25519 where that cannot be told. */
export function keyTypeHere(config = SYSTEM_CONFIG): LoginKeyType {
  try {
    const file = existsSync(config) ? config : 'none'
    const out = execFileSync('ssh', ['-G', '-F', file, 'keyman.invalid'], {
      encoding: 'utf8',
      timeout: 5000,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const [, list] = /^pubkeyaccepted(?:algorithms|keytypes) (.+)$/im.exec(out) ?? []
    return (list === undefined ? undefined : keyTypesOn(list.split(','))[0]) ?? 'ed25519'
  } catch {
    return 'ed25519'
  }
}
