import { accessSync, constants, existsSync, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/**
 * The real parts that tests run against, by the name a test asks for. `packages` are Debian's and Ubuntu's; `find` gives
 * the path of what counts, a program or a library, or `undefined`.
 */
export const REQUIREMENTS = {
  ssh: { packages: ['openssh-client'], find: () => program('ssh-keygen') && program('ssh') && program('ssh-agent') },
  'gpg-agent': { packages: ['gpg-agent'], find: () => program('gpg-agent') },
  sshd: { packages: ['openssh-server'], find: () => program('sshd') },
  softhsm: {
    packages: ['softhsm2'],
    find: () =>
      program('softhsm2-util') &&
      firstFile(
        [
          ...['/usr/lib/softhsm', '/usr/lib64/pkcs11', '/usr/local/lib/softhsm', '/opt/homebrew/lib/softhsm'],
          ...subfolders('/usr/lib').map(folder => join(folder, 'softhsm')),
        ].map(folder => join(folder, 'libsofthsm2.so')),
      ),
  },
  'p11-kit': { packages: ['libp11-kit0'], find: () => library('libp11-kit.so.0') },
  softokn: { packages: ['libnss3'], find: () => library('libsoftokn3.so') },
  opensc: { packages: ['opensc'], find: () => program('pkcs11-tool') },
  postgresql: {
    packages: ['postgresql'],
    find: () =>
      firstFile(
        ['/usr/lib/postgresql', '/opt/homebrew/opt', '/usr/local/opt', '/usr/pgsql']
          .flatMap(subfolders)
          .map(folder => join(folder, 'bin', 'initdb')),
      ),
  },
  pgbouncer: { packages: ['pgbouncer'], find: () => program('pgbouncer') },
  chromium: {
    packages: ['chromium'],
    find: () => program('chromium') ?? program('chromium-browser') ?? program('google-chrome'),
  },
  cc: { packages: ['g++'], find: () => program('cc') && program('g++') },
  openssl: { packages: ['openssl'], find: () => program('openssl') },
  rsync: { packages: ['rsync'], find: () => program('rsync') },
  git: { packages: ['git'], find: () => program('git') },
  // The device is the kernel's: a container has it where it is given to it (--device /dev/fuse).
  fuse: { packages: ['mount'], find: () => program('mount') && firstFile(['/dev/fuse']) },
}

/** Names of what is not on this machine, or is named in `KEYMAN_TEST_MISSING` (to try how tests do without). */
export function missingRequirements() {
  const hidden = (process.env.KEYMAN_TEST_MISSING ?? '').split(',')
  return Object.keys(REQUIREMENTS).filter(name => hidden.includes(name) || !REQUIREMENTS[name].find())
}

/** A program's path: in PATH, and where Debian keeps what only root runs. */
export function program(name) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin', '/sbin']
  return folders
    .filter(Boolean)
    .map(folder => join(folder, name))
    .find(isExecutable)
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** A library's path, in the folders that Debian and others keep them in. */
const library = name =>
  firstFile(
    ['/usr/lib', '/usr/lib64', '/usr/local/lib', '/opt/homebrew/lib']
      .flatMap(folder => [folder, ...subfolders(folder)])
      .flatMap(folder => [join(folder, name), join(folder, 'nss', name)]),
  )

const firstFile = paths => paths.find(path => existsSync(path))

function subfolders(folder) {
  return existsSync(folder)
    ? readdirSync(folder)
        .sort()
        .reverse()
        .map(name => join(folder, name))
    : []
}
