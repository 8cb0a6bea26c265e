import { KeymanError } from '#shared/errors.ts'
import { listContexts, readContext } from '../context/context.ts'
import type { Folders } from '../context/folders.ts'
import { usage } from '../terminal/command.ts'
import { ask, canAsk, remark } from '../terminal/terminal.ts'
import type { Trusted } from '../trust/trust-store.ts'

/**
 * The host names that an organisation claims are shown and agreed to, at first and at each change (invariant 14). What
 * another organisation answers for here stays with that one. Gives those agreed to. Throws `denied` where the person says no.
 */
export async function agreeToNames(
  folders: Folders,
  { pin, claims, agreed }: Trusted,
  yes: boolean,
): Promise<readonly string[]> {
  const others = listContexts(folders)
    .filter(name => name !== pin.organisation)
    .flatMap(name => readContext(folders, name) ?? [])
  const { free, taken } = share(claims, others)
  if (sameNames(free, agreed)) return agreed
  for (const { suffix, by } of taken) remark(`${by} answers for *.${suffix} here already, and goes on to.`)
  const names = free.map(suffix => `*.${suffix}`).join(', ') || 'none'
  remark(`${pin.organisation} answers for the hosts ${names}; root of trust ${pin.rootFingerprint}.`)
  // Names below `localhost` never leave this machine (RFC 6761 section 6.3).
  if (!yes && !free.every(suffix => suffix.endsWith('.localhost'))) {
    if (!canAsk()) throw usage('nobody can be asked whether these host names are right', 'add --yes if they are')
    if (!(await ask('Is that right?', false)))
      throw new KeymanError('denied', 'the host names were not accepted; nothing was changed')
  }
  return free
}

/** Pure: which of the claimed suffixes are disjoint from those of the other organisations, and whose the rest are. */
export function share(
  claims: readonly string[],
  others: readonly { readonly organisation: string; readonly hostSuffixes: readonly string[] }[],
) {
  const free: string[] = []
  const taken: { suffix: string; by: string }[] = []
  for (const suffix of claims) {
    const owner = others.find(({ hostSuffixes }) => hostSuffixes.some(held => overlap(held, suffix)))
    if (owner) taken.push({ suffix, by: owner.organisation })
    else free.push(suffix)
  }
  return { free, taken }
}

/** Whether some host's name lies below both. */
const overlap = (a: string, b: string): boolean => a === b || a.endsWith(`.${b}`) || b.endsWith(`.${a}`)
const sameNames = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every(name => b.includes(name))
