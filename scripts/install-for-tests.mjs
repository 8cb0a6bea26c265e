import { spawnSync } from 'node:child_process'
import { missingRequirements, program, REQUIREMENTS } from './requirements.mjs'

/**
 * Installs by apt-get what the tests run against, as root or with a sudo that asks for no password; else says the one
 * command to run. Starts no service: tests start their own.
 * @param {(line: string) => void} say
 * @returns {string[]} names of what is still missing
 */
export function installForTests(say) {
  const hidden = (process.env.KEYMAN_TEST_MISSING ?? '').split(',')
  const wanted = missingRequirements().filter(name => !hidden.includes(name))
  if (wanted.length === 0) return missingRequirements()
  const packages = wanted.flatMap(name => REQUIREMENTS[name].packages)
  const become = program('apt-get') ? howToBecomeRoot() : undefined
  if (become === undefined) {
    say(`tests of ${wanted.join(', ')} are skipped. To run them: ${manual(packages)}`)
    return missingRequirements()
  }
  say(`installing for the tests: ${packages.join(' ')}`)
  const [command, ...args] = [...become, 'sh', '-c', INSTALL, 'sh', ...packages]
  const { status } = spawnSync(command, args, { stdio: ['ignore', 2, 2] })
  if (status !== 0) say(`apt-get could not install them (its reason stands above). By hand: ${manual(packages)}`)
  return missingRequirements()
}

function howToBecomeRoot() {
  if (process.getuid?.() === 0) return []
  if (program('sudo') && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0) return ['sudo', '-n']
  return undefined
}

const manual = packages =>
  program('apt-get')
    ? `sudo apt-get install --no-install-recommends ${packages.join(' ')}`
    : `install what Debian calls ${packages.join(' ')}`

/**
 * The package lists are fetched only if they don't know a package, or lead to one that is gone. Debian starts a daemon when
 * it installs it, unless `policy-rc.d` (invoke-rc.d(8)) says 101, 'forbidden': so one stands there meanwhile.
 */
const INSTALL = `
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\\n# Of KeyMan: npm test, while it installs.\\nexit 101\\n' >$policy && chmod 755 $policy
fi
get() { apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@"; }
if ! apt-get -qq --simulate install "$@" >/dev/null 2>&1; then get update || exit; fi
get install -y --no-install-recommends "$@" >/dev/null || { get update && get install -y --no-install-recommends "$@" >/dev/null; }
`
