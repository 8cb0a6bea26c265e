import { execFile, execFileSync, fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { LoopJob, LoopResult } from './keystore-loop.ts'

/** What the server is held against: the bare keystore, and `ssh-keygen -s`. */

export function keystoreLoop(job: LoopJob): Promise<LoopResult> {
  return new Promise((resolve, reject) => {
    const child = fork(join(import.meta.dirname, 'keystore-loop.ts'))
    let result: LoopResult | undefined
    child.once('message', (message: LoopResult) => {
      result = message
    })
    child.once('exit', code => (result ? resolve(result) : reject(new Error(`the keystore's loop ended with ${code}`))))
    child.send(job)
  })
}

/** Certificates a second that a shell loop of `ssh-keygen -s` makes, with a key in a file. */
export async function sshKeygenLoop(count: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'keyman-bench-'))
  try {
    for (const name of ['ca', 'id'])
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)])
    const sign = 'ssh-keygen -q -s ca -I alice@example.com -n alice@example.com -V +8h -z $n id.pub'
    const started = performance.now()
    const loop = `n=0; while [ $n -lt ${count} ]; do n=$((n+1)); ${sign} || exit 1; done`
    await promisify(execFile)('sh', ['-c', loop], { cwd: folder })
    return (count / (performance.now() - started)) * 1000
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
