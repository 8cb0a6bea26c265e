import { type ChildProcessByStdio, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'

/** A machine of its own with systemd as its first process, where packages may be installed and units started. */
export type Machine = {
  /** Runs a program there as root, and waits for its end. */
  run(command: readonly string[], options?: { input?: string; env?: Record<string, string> }): SpawnSyncReturns<string>
  /** The same, without waiting. */
  start(command: readonly string[]): ChildProcessByStdio<null, Readable, null>
  /** A shell's line there, which has to succeed; gives what it said on stdout. */
  sh(line: string): string
  close(): Promise<void>
}

/**
 * This machine once more, in namespaces: its files below an overlay that forgets what is written, its own processes, and its
 * network. sysfs and the kernel's settings are read-only there, so that no unit changes anything outside.
 */
const BOOT = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for device in null zero full random urandom tty; do
  touch dev/$device
  mount --bind /dev/$device dev/$device
done
: > etc/machine-id
rm -rf etc/systemd/system/*.wants
mkfifo run/booted
cat > etc/systemd/system/booted.service <<'END'
[Unit]
After=basic.target
Requires=basic.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo booted > /run/booted'
END
mkdir run/shared
mount --bind -o ro "$SHARED" run/shared
[ -z "$OWN_NETWORK" ] || ip link set lo up
cat run/booted &
export container=test
exec chroot . /lib/systemd/systemd --system --unit=booted.service --log-target=null --show-status=no
`

/** Why no such machine can be had here; `undefined` where it can. */
export function whyNoMachine(): string | undefined {
  if (process.platform !== 'linux') return 'only Linux has namespaces'
  if (process.getuid?.() !== 0) return 'only root makes such namespaces'
  if (spawnSync('/lib/systemd/systemd', ['--version']).status !== 0) return 'there is no systemd'
  if (cgroups() === undefined) return 'there is no cgroup2 to write to'
  const overlay =
    'mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w /mnt/m && mount -t overlay o -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/m'
  const tried = spawnSync('unshare', ['-m', '-p', '-u', '-i', '-C', '--fork', 'sh', '-c', overlay])
  return tried.status === 0 ? undefined : 'namespaces or overlays are not allowed here'
}

/** `shared`: a folder that is seen there as `/run/shared`, to read. `ownNetwork`: loopback alone, with every port free. */
export async function bootMachine(shared: string, { ownNetwork = false } = {}): Promise<Machine> {
  const namespaces = ['-m', '-p', '-u', '-i', '-C', ...(ownNetwork ? ['-n'] : [])]
  const group = join(cgroups() ?? '', `keyman-test-${process.pid}`)
  mkdirSync(group)
  // Into the group first: its namespace begins where whoever makes it is.
  const line = `echo $$ > "$1"/cgroup.procs; exec unshare ${namespaces.join(' ')} --fork --kill-child sh -c "$2"`
  const env = { ...process.env, SHARED: shared, OWN_NETWORK: ownNetwork ? 'yes' : '' }
  const outside = spawn('sh', ['-c', line, 'sh', group, BOOT], { stdio: ['ignore', 'pipe', 'pipe'], env })
  const gone = new Promise<void>(resolve => outside.once('exit', () => resolve()))
  const end = () => outside.kill('SIGKILL')
  process.once('exit', end)
  let said = ''
  await new Promise<void>((resolve, reject) => {
    const hear = (chunk: Buffer) => {
      said += chunk.toString('utf8')
      if (said.includes('booted\n')) resolve()
    }
    outside.stdout.on('data', hear)
    outside.stderr.on('data', hear)
    outside.once('exit', code => reject(new Error(`the machine ended with ${code}: ${said}`)))
  })
  const [first] = readFileSync(`/proc/${outside.pid}/task/${outside.pid}/children`, 'utf8').trim().split(' ')
  const enter = ['-t', first ?? '', ...namespaces, '-r', '-w']
  const run: Machine['run'] = (command, { input = '', env = {} } = {}) =>
    spawnSync('nsenter', [...enter, ...command], {
      input,
      encoding: 'utf8',
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        HOME: '/root',
        LANG: 'C.UTF-8',
        ...env,
      },
    })
  return {
    run,
    start: command => spawn('nsenter', [...enter, ...command], { stdio: ['ignore', 'pipe', 'inherit'] }),
    sh(line) {
      const { status, stdout, stderr } = run(['sh', '-c', line])
      if (status !== 0) throw new Error(`${line}: ${status}\n${stdout}${stderr}`)
      return stdout
    },
    async close() {
      process.off('exit', end)
      // Its first process, and with it all others: what waits for that one then ends last.
      process.kill(Number(first), 'SIGKILL')
      await gone
      removeGroups(group)
    },
  }
}

/** Where groups of processes can be made below our own: systemd keeps its services in such. */
function cgroups(): string | undefined {
  const [, mount] = /^cgroup2? (\S+) cgroup2 /m.exec(readFileSync('/proc/mounts', 'utf8')) ?? []
  const [, own] = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8')) ?? []
  if (mount === undefined || own === undefined) return undefined
  const probe = join(mount, own, `keyman-probe-${process.pid}`)
  try {
    mkdirSync(probe)
    rmdirSync(probe)
    return join(mount, own)
  } catch {
    return undefined
  }
}

function removeGroups(group: string): void {
  const { stdout } = spawnSync('find', [group, '-depth', '-type', 'd'], { encoding: 'utf8' })
  for (const folder of stdout.split('\n').filter(Boolean)) rmdirSync(folder)
}
