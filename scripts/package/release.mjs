/** Writes the files of a release with their digests, signed if somebody has a key for that. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What the signature says that it is for (PROTOCOL.sshsig): one for something else is none for a release. */
export const NAMESPACE = 'keyman-release'

/**
 * @param {{ out: string, made: Record<string, Buffer | string>, signKey?: string, say: (line: string) => void }} what
 */
export function writeRelease({ out, made, signKey, say }) {
  const names = Object.keys(made).sort()
  for (const name of names) {
    writeFileSync(join(out, name), made[name])
    say(`${name}  ${(made[name].length / 1e6).toFixed(1)} MB`)
  }
  const lines = names.map(name => `${createHash('sha256').update(made[name]).digest('hex')}  ${name}\n`)
  const sums = join(out, 'SHA256SUMS')
  writeFileSync(sums, lines.join(''))
  if (signKey === undefined) say('SHA256SUMS is not signed: --sign-key FILE')
  else {
    const sign = ['-q', '-Y', 'sign', '-f', signKey, '-n', NAMESPACE, sums]
    const { status, error } = spawnSync('ssh-keygen', sign, { stdio: ['inherit', 'ignore', 'inherit'] })
    if (status !== 0)
      throw new Error(`SHA256SUMS could not be signed with ${signKey}${error ? `: ${error.message}` : ''}`)
    say('SHA256SUMS.sig signs SHA256SUMS')
  }
  say(`all of it in ${out}`)
}
