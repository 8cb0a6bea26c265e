import { type Entry, EpochsChanged, isEndedWithAll, type Ledger } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { SubjectPrincipal } from '#shared/names.ts'
import type { Epoch } from '../caller.ts'
import type { Role } from '../standing.ts'

/** How often something is decided anew when what it was decided from has changed. */
const ATTEMPTS = 3

/** An epoch that has changed is no denial: it is read and decided anew, twice at most. */
export async function anew<T>(
  read: () => Promise<readonly Epoch[]>,
  attempt: (epochs: readonly Epoch[]) => Promise<T>,
): Promise<T> {
  for (let attempts = 1; ; attempts++) {
    try {
      return await attempt(await read())
    } catch (error) {
      if (!(error instanceof EpochsChanged)) throw error
      if (attempts === ATTEMPTS)
        throw new KeymanError('conflict', 'the rights that this takes change at this moment', {
          hint: 'try again',
          cause: error,
        })
    }
  }
}

/**
 * In a transaction that has taken the role's epochs and those of `others`, whom something is done to. Throws `EpochsChanged` where the role may be
 * decided otherwise by now: what was committed before has been heard of, or is read here.
 */
export async function assertRoleHolds(
  { saysMore }: Pick<Ledger, 'saysMore'>,
  t: Queryable,
  role: Role | undefined,
  others: Iterable<string>,
): Promise<void> {
  if (!role) return
  const subjects = new Set([...others, ...role.epochs.map(({ subject }) => subject)])
  if ((await saysMore(t, said => role.concerns(said, subjects))) || !role.holds()) throw new EpochsChanged()
}

/**
 * Uses a token that somebody else made, under the role by which they may still make it; `use` looks once more (`assertRoleHolds`). None for one
 * of the operator's, or of a release that did not say whose it was. `id`: of its fact. `decide` throws `denied`, and has recorded that.
 * Throws `goodNoMore` where they may not.
 */
export function useByMaker<T>(
  ledger: Pick<Ledger, 'append' | 'facts' | 'follow'>,
  token: {
    readonly maker: SubjectPrincipal | undefined
    readonly id: string
    readonly action: string
    readonly by: Pick<Entry, 'actor' | 'requestId' | 'from'>
    readonly decide: (maker: SubjectPrincipal) => Promise<Role>
    readonly goodNoMore: KeymanError
  },
  use: (role: Role | undefined) => Promise<T>,
): Promise<T> {
  const { maker, id, action, by, decide, goodNoMore } = token
  let role: Role | undefined
  const roleNow = async (of: SubjectPrincipal): Promise<Role> => {
    const decided = await (role ? role.again() : decide(of)).catch((error: unknown) => {
      throw error instanceof KeymanError && error.code === 'denied' ? goodNoMore : error
    })
    // What the log says below is newer than the epochs of this role: who is ended after it has others.
    await ledger.follow()
    if (!isEndedWithAll(ledger.facts, id, of)) return decided
    const reason = `all that ${of} had was ended, who made this token`
    await ledger.append({ ...by, kind: 'denied', target: action, decision: 'deny', reason })
    throw goodNoMore
  }
  return anew(
    async () => {
      role = maker === undefined ? undefined : await roleNow(maker)
      return role?.epochs ?? []
    },
    () => use(role),
  )
}
