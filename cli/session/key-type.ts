import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { isLoginKeyType, keyTypesOn, LOGIN_KEY_TYPES, type LoginKeyType } from '#shared/login-key-types.ts'
import type { Host } from '../context/context.ts'
import { usage } from '../terminal/command.ts'

/** What the machine's administrator sets, by a policy of algorithms say; never the person's own file, whose blocks may run programs. */
const SYSTEM_CONFIG = '/etc/ssh/ssh_config'

/** Throws for what is no such type. */
export function parseKeyType(text: string): LoginKeyType {
  if (isLoginKeyType(text)) return text
  throw usage(`--key-type: ${JSON.stringify(text)} is none of ${LOGIN_KEY_TYPES.join(', ')}`)
}

/** The types that this machine's ssh takes, best first; Ed25519 where that cannot be told. */
export function keyTypesHere(config = SYSTEM_CONFIG): LoginKeyType[] {
  try {
    const file = existsSync(config) ? config : 'none'
    const out = execFileSync('ssh', ['-G', '-F', file, 'keyman.invalid'], {
      encoding: 'utf8',
      timeout: 5000,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const [, list] = /^pubkeyaccepted(?:algorithms|keytypes) (.+)$/im.exec(out) ?? []
    const taken = list === undefined ? [] : keyTypesOn(list.split(','))
    return taken.length === 0 ? ['ed25519'] : taken
  } catch {
    return ['ed25519']
  }
}

/** The hosts that take no such key, by their own word. */
export const refusing = (type: LoginKeyType, hosts: readonly Host[]): Host[] =>
  hosts.filter(({ keyTypes }) => keyTypes?.includes(type) === false)

/** The best type that this machine and all of these hosts take; else the best one here, since some host gets none that it takes. */
export const commonKeyType = (here: readonly LoginKeyType[], hosts: readonly Host[]): LoginKeyType =>
  here.find(type => refusing(type, hosts).length === 0) ?? here[0] ?? 'ed25519'
