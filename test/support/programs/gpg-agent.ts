import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What asks the person for a passphrase, in whose place it always answers one. */
const PINENTRY = `#!/bin/sh
echo OK
while read -r line; do
  case "$line" in
    GETPIN*) echo 'D passphrase'; echo OK ;;
    BYE*) echo OK; exit 0 ;;
    *) echo OK ;;
  esac
done
`

export type GpgAgent = {
  readonly folder: string
  readonly socket: string
  /** How many private keys it has on disk. */
  keys(): number
  close(): Promise<void>
}

/** A real gpg-agent that serves ssh, in a home of its own. */
export function startGpgAgent(): GpgAgent {
  const folder = mkdtempSync(join(tmpdir(), 'keyman-gpg-'))
  const pinentry = join(folder, 'pinentry')
  const kept = join(folder, 'private-keys-v1.d')
  writeFileSync(pinentry, PINENTRY)
  chmodSync(pinentry, 0o700)
  mkdirSync(kept, { mode: 0o700 })
  const options = ['--homedir', folder, '--daemon', '--enable-ssh-support', '--pinentry-program', pinentry]
  execFileSync('gpg-agent', options, { stdio: 'ignore', env: { ...process.env, GNUPGHOME: folder } })
  return {
    folder,
    socket: join(folder, 'S.gpg-agent.ssh'),
    keys: () => readdirSync(kept).length,
    async close() {
      await new Promise<void>(resolve => {
        const connection = connect(join(folder, 'S.gpg-agent'), () => connection.write('KILLAGENT\n'))
        connection
          .on('error', () => resolve())
          .on('close', () => resolve())
          .resume()
      })
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
