import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { homedir, userInfo } from 'node:os'
import { join } from 'node:path'
import { sshdVersion } from '#agent/sshd/sshd.ts'
import { withoutPenalties } from '#server/demo/sshd-config.ts'
import { freePort } from '../free-port.ts'
import { isRoot, pathOf } from '../requires.ts'
import { privateKeyFile, type TestKey } from '../trust-world.ts'

/**
 * A real sshd on loopback. StrictModes refuses files below a folder that others can write to, so it lies below the home,
 * or for root, whose home other users can't enter, below /var/lib.
 */
export type TestSshd = {
  readonly folder: string
  readonly port: number
  readonly configFile: string
  readonly pidFile: string
  readonly hostKey: string
  readonly logFile: string
  readonly log: () => string
  /** Once its configuration can be read: `Include`d files may come later. */
  start(env?: NodeJS.ProcessEnv): Promise<void>
  close(): Promise<void>
}

export async function newSshd(extraConfig: (folder: string) => readonly string[]): Promise<TestSshd> {
  const folder = mkdtempSync(join(isRoot ? '/var/lib' : homedir(), '.keyman-test-'))
  chmodSync(folder, 0o755)
  if (isRoot && !existsSync('/run/sshd')) mkdirSync('/run/sshd', { mode: 0o755 })
  const port = await freePort()
  const hostKey = join(folder, 'ssh_host_ed25519_key')
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', hostKey])
  const configFile = join(folder, 'sshd_config')
  const pidFile = join(folder, 'sshd.pid')
  const version = (await sshdVersion(pathOf('sshd'))).replace('OpenSSH_', '')
  writeFileSync(
    configFile,
    [
      ...extraConfig(folder),
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${hostKey}`,
      `PidFile ${pidFile}`,
      'UsePAM no',
      'StrictModes yes',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      ...withoutPenalties(version),
      '',
    ].join('\n'),
  )
  let child: ChildProcess | undefined
  const logFile = join(folder, 'sshd.log')
  const log = () => (existsSync(logFile) ? readFileSync(logFile, 'utf8') : '')
  return {
    folder,
    port,
    configFile,
    pidFile,
    hostKey,
    logFile,
    log,
    async start(env = process.env) {
      const started = spawn(pathOf('sshd'), ['-D', '-E', logFile, '-f', configFile], { env, stdio: 'ignore' })
      child = started
      await untilListening(port, () => started.exitCode === null, log)
    },
    async close() {
      if (child && child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM')
        await once(child, 'exit')
      }
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** A Unix user for as long as the test runs; for root only. */
export function newUnixUser(): { name: string; remove(): void } {
  const name = `kmtest${randomBytes(4).toString('hex')}`
  // Without PAM sshd refuses an entry that begins with '!': '*' is no password and not locked.
  execFileSync('useradd', ['--create-home', '--shell', '/bin/sh', '--password', '*', name])
  return { name, remove: () => void execFileSync('userdel', ['--remove', '--force', name], { stdio: 'ignore' }) }
}
export const ownLogin = (): string => userInfo().username

/** Plain OpenSSH with this key and certificate and nothing of the user's own. */
export function ssh(
  sshd: Pick<TestSshd, 'port' | 'folder'>,
  login: string,
  identity: { readonly key: TestKey; readonly certificate: string },
  command: string,
  options: readonly string[] = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null'],
): Promise<{ code: number; out: string; err: string }> {
  const base = join(sshd.folder, `id-${randomBytes(6).toString('hex')}`)
  writeFileSync(base, privateKeyFile(identity.key), { mode: 0o600 })
  writeFileSync(`${base}.pub`, `${identity.key.line}\n`)
  writeFileSync(`${base}-cert.pub`, `${identity.certificate}\n`)
  const settings = ['BatchMode=yes', 'IdentityAgent=none', 'IdentitiesOnly=yes', 'LogLevel=ERROR', ...options]
  const args = ['-F', 'none', '-i', base, '-o', `CertificateFile=${base}-cert.pub`, '-p', String(sshd.port)]
  for (const setting of settings) args.push('-o', setting)
  return new Promise(resolve => {
    execFile('ssh', [...args, `${login}@127.0.0.1`, command], { timeout: 20_000 }, (error, out, err) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? 255 : 0, out, err }),
    )
  })
}

async function untilListening(port: number, alive: () => boolean, log: () => string): Promise<void> {
  for (;;) {
    if (!alive()) throw new Error(`sshd did not start: ${log()}`)
    const open = await new Promise<boolean>(resolve => {
      const socket = createConnection(port, '127.0.0.1')
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (open) return
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
