import { z } from 'zod'
import { KeymanError } from '#shared/errors.ts'
import {
  compareNext,
  type Difference,
  type KeyPurpose,
  NAMED_CHANGES,
  type NamedChange,
  parseTrustDocument,
  type TrustBundle,
} from '#shared/trust/index.ts'
import { readGiven } from '../context/files.ts'
import { usage } from '../terminal/command.ts'
import { ask, canAsk, remark, shown } from '../terminal/terminal.ts'

/** What whoever signs has said beforehand of the document that is to be signed. */
export type Expected = {
  readonly named: readonly NamedChange[]
  /** Keys whose change is meant, each with what it is for: `ssh-user=SHA256:…`. */
  readonly keys: readonly string[]
  /** Roots and threshold are known beforehand, and the document's are the same. */
  readonly rootsGiven?: boolean
  /** What `keyman-server authority list --json` printed at the keystore. */
  readonly listed?: AuthorityList | undefined
}

const authorityList = z.object({
  keys: z.array(z.object({ label: z.string(), purpose: z.string(), fingerprint: z.string(), keystore: z.string() })),
})
export type AuthorityList = z.infer<typeof authorityList>['keys']

/** The flags of every command that signs or looks at what is to be signed. */
export const REVIEW_OPTIONS = {
  change: { type: 'string', multiple: true },
  key: { type: 'string', multiple: true },
  'authority-list': { type: 'string' },
} as const

const KEY_PURPOSES: readonly KeyPurpose[] = ['root', 'ssh-user', 'ssh-host', 'machines', 'log']
const MEANT_KEY = new RegExp(`^(${KEY_PURPOSES.join('|')})=SHA256:[A-Za-z0-9+/]{43}$`)

export function expectedFrom(values: {
  readonly change?: readonly string[]
  readonly key?: readonly string[]
  readonly 'authority-list'?: string
}): Expected {
  const named = (values.change ?? []).map(text => {
    const change = NAMED_CHANGES.find(name => name === text)
    if (!change)
      throw usage(`--change ${JSON.stringify(text)} names no change`, `it is one of ${NAMED_CHANGES.join(', ')}`)
    return change
  })
  const keys = values.key ?? []
  for (const key of keys)
    if (!MEANT_KEY.test(key))
      throw usage(
        `--key ${JSON.stringify(key)} names no key and what it is for`,
        `for example ssh-host=SHA256:…; it is for one of ${KEY_PURPOSES.join(', ')}`,
      )
  const file = values['authority-list']
  return { named, keys, listed: file === undefined ? undefined : readList(file) }
}

function readList(file: string): AuthorityList {
  let value: unknown
  try {
    value = JSON.parse(readGiven(file, '--authority-list'))
  } catch (error) {
    if (error instanceof KeymanError) throw error
  }
  const parsed = authorityList.safeParse(value)
  if (parsed.success) return parsed.data.keys
  throw usage(
    `--authority-list: ${file} is no list of keys`,
    'make it at the keystore: keyman-server authority list --json',
  )
}

/**
 * Shows what the next document changes of what is pinned here, key by key. Throws `denied` where it is none that may follow:
 * of another organisation, with a change that nobody named, or with an authority or log key that no keystore holds.
 */
export function showChanges(before: TrustBundle, document: string, expected: Expected): readonly Difference[] {
  const after = parseTrustDocument(document)
  const all = compareNext(before, after, NAMED_CHANGES)
  remark(`${after.organisation}: trust bundle ${after.version}, after version ${before.version}, which is pinned here`)
  if (all.length === 0) remark('  no change')
  for (const difference of all) remark(`  ${inWords(difference, expected.listed)}`)
  compareNext(before, after, expected.named)
  const strange = all.filter(
    difference => expected.listed && isAddedToKeystore(difference) && !heldBy(difference, expected.listed),
  )
  if (strange.length > 0)
    throw new KeymanError(
      'denied',
      `the keystore does not hold ${strange.map(found => ('key' in found ? found.key.fingerprint : '')).join(', ')}, which the document adds`,
      { hint: 'sign nothing: the server names a key that is not in the list of its keystore' },
    )
  return all
}

/**
 * Each change is confirmed: by what was said beforehand, else by whoever sits here. That a change was named says that there may be
 * one, and not to what: the value is the server's. Throws where one is not confirmed; where nobody can be asked, a key has to be
 * named with its purpose, because a root's key that becomes an authority's is another matter than a root.
 */
export async function confirmChanges(
  differences: readonly Difference[],
  expected: Expected,
  { canAsk, ask }: Asking = TERMINAL,
): Promise<void> {
  const open = differences.filter(difference => !isSettled(difference, expected))
  const keys = open.filter(difference => 'key' in difference)
  if (!canAsk() && keys.length > 0)
    throw usage(
      `nobody can be asked whether it is meant: ${keys.map(difference => inWords(difference, expected.listed)).join('; ')}`,
      'compare each with `keyman-server authority list` at the keystore, and add --key PURPOSE=FINGERPRINT, or --authority-list FILE',
    )
  if (!canAsk()) return
  for (const difference of open)
    if (!(await ask(`Is this meant: ${inWords(difference, expected.listed)}?`, false)))
      throw new KeymanError('denied', 'it is not meant; nothing was signed', {
        hint: 'the document says what the server made it say: find out who changed that before you sign anything',
      })
}

type Asking = {
  readonly canAsk: () => boolean
  readonly ask: (question: string, otherwise: boolean) => Promise<boolean>
}
const TERMINAL: Asking = { canAsk, ask }

function isSettled(difference: Difference, { keys, listed, rootsGiven }: Expected): boolean {
  if (rootsGiven && (difference.change === 'roots' || difference.change === 'threshold')) return true
  if (!('key' in difference)) return false
  const { purpose, fingerprint } = difference.key
  return (
    keys.includes(`${purpose}=${fingerprint}`) ||
    (isAddedToKeystore(difference) && heldBy(difference, listed) !== undefined)
  )
}

/** A key that some keystore of the server has to hold. */
const isAddedToKeystore = (difference: Difference): boolean =>
  'key' in difference && difference.change !== 'roots' && difference.key.how === 'added'

const heldBy = (difference: Difference, listed: AuthorityList | undefined) =>
  'key' in difference
    ? listed?.find(
        ({ purpose, fingerprint }) => purpose === difference.key.purpose && fingerprint === difference.key.fingerprint,
      )
    : undefined

function inWords(difference: Difference, listed: AuthorityList | undefined): string {
  if (!('key' in difference))
    return `${difference.change}: ${difference.what} ${shown(difference.before)} -> ${shown(difference.after)}`
  const { purpose, fingerprint, how, before, after } = difference.key
  const states = [before, after].filter(state => state !== undefined).join(' -> ')
  const held = heldBy(difference, listed)
  const where = held ? `, in ${shown(held.keystore)} as ${shown(held.label)}` : ''
  return `${purpose} key ${fingerprint} ${how}${states === '' ? '' : ` (${states})`}${where}`
}
