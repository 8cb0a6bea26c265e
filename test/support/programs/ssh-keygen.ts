import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Runs the real `ssh-keygen` in a folder of its own, which is gone after `remove()`. Nobody is ever asked anything. */
export class SshKeygen {
  readonly folder = mkdtempSync(join(tmpdir(), 'keyman-ssh-keygen-'))

  path(name: string): string {
    return join(this.folder, name)
  }
  /** Mode 0600, so that ssh-keygen takes it as a private key too. Gives the path. */
  write(name: string, content: string | Uint8Array): string {
    writeFileSync(this.path(name), content)
    chmodSync(this.path(name), 0o600)
    return this.path(name)
  }
  read(name: string): Uint8Array {
    return new Uint8Array(readFileSync(this.path(name)))
  }
  readText(name: string): string {
    return readFileSync(this.path(name), 'utf8')
  }
  /** Times are UTC, unless another `zone` is named. */
  try(
    args: readonly string[],
    input: string | Uint8Array = '',
    zone = 'UTC',
  ): { ok: boolean; stdout: string; output: string } {
    const { status, stdout, stderr } = spawnSync('ssh-keygen', args, {
      cwd: this.folder,
      input,
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
      env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', TZ: zone, HOME: this.folder },
    })
    return { ok: status === 0, stdout, output: stdout + stderr }
  }
  /** Throws where it fails. Gives stdout. */
  run(args: readonly string[], input: string | Uint8Array = '', zone = 'UTC'): string {
    const { ok, stdout, output } = this.try(args, input, zone)
    if (!ok) throw new Error(`ssh-keygen ${args.join(' ')}: ${output}`)
    return stdout
  }
  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}
