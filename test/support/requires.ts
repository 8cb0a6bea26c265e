import { missingRequirements, REQUIREMENTS, type Requirement } from '../../scripts/requirements.mjs'

const missing = missingRequirements()

/**
 * Whether the real parts are on this machine, for `describe.skipIf(!requires('sshd', 'softhsm'))`: so a skipped test
 * appears by its name. With `CI=true` a missing part is no reason to skip: it throws, and the file fails.
 */
export function requires(...names: readonly Requirement[]): boolean {
  const absent = names.filter(name => missing.includes(name))
  if (absent.length > 0 && process.env.CI === 'true') {
    const packages = absent.flatMap(name => REQUIREMENTS[name].packages)
    throw new Error(
      `with CI=true nothing is skipped, and there is no ${absent.join(', ')}: install ${packages.join(' ')}`,
    )
  }
  return absent.length === 0
}

/** The path of a program or library that `requires` has found. Throws where it is missing. */
export function pathOf(name: Requirement): string {
  const path = missing.includes(name) ? undefined : REQUIREMENTS[name].find()
  if (path === undefined) throw new Error(`there is no ${name}: install ${REQUIREMENTS[name].packages.join(' ')}`)
  return path
}

/** Some cases need root (other Unix users, chown): they are skipped by name elsewhere, with `CI=true` too. */
export const isRoot = process.getuid?.() === 0
