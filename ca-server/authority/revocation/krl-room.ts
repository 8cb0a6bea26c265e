import type { Ledger } from '#server/ledger/index.ts'
import { MAX_KRL_BYTES } from '#shared/api/fields.ts'
import { krlVersions, readRevoked, revokedKeys, revokedSessionKeys } from '#shared/audit/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { isWorkloadPrincipal, type SubjectPrincipal } from '#shared/names.ts'

/** In the list, bytes: a fingerprint with its length, an interval with its head. */
const KEY = 36
const INTERVAL = 21

/** By keys that nothing here was certified for: whoever may revoke can name as many as they like, and they stay for good. */
const MOST_STRANGE_KEYS = 20_000

/** Keys of sessions that were ended, of one person; and of all workloads of one project, whose editor makes as many workloads as they like. */
const MOST_OF_PERSON = 2_000
const MOST_OF_PROJECT = 50_000

/** Whether there is room on the list of what is revoked, of which hosts and laptops read no more than `MAX_KRL_BYTES`. */
export type KrlRoom = {
  /** Half of it is taken: what a key ends is not named by its serials as well. */
  isTight(): boolean
  /**
   * For the key of a session of theirs that begins. Not where three quarters are taken: what would only make it longer waits, so that what is there can
   * be ended. Nor where too many of them, or of their project, are on it.
   */
  hasRoomFor(whose: SubjectPrincipal): boolean
  /** Throws `conflict` for a key that nothing here was certified for, where there is no room for such. */
  assertForStranger(): void
  /** Tells of a list that takes more than half of what there may be, once, and of one that takes three quarters. */
  tell(bytes: number): void
}

export function krlRoom({
  facts,
  alarm,
  most = MAX_KRL_BYTES,
}: {
  readonly facts: Pick<Ledger['facts'], 'ids'>
  readonly alarm: (message: string) => void
  /** Bytes. */
  readonly most?: number | undefined
}): KrlRoom {
  let version: bigint | undefined
  let length = 0
  let holders = new Map<string, number>()
  let told = 0
  /** Counted once for each version: whoever asks is on the way of a certificate. */
  const taken = (): number => {
    const newest = krlVersions(facts.ids).newest?.version ?? 0n
    if (newest !== version) {
      version = newest
      const sessionKeys = revokedSessionKeys(facts.ids)
      length = KEY * (revokedKeys(facts.ids).length + sessionKeys.length) + INTERVAL * readRevoked(facts.ids).length
      holders = new Map()
      for (const { whose } of sessionKeys) holders.set(holderOf(whose), (holders.get(holderOf(whose)) ?? 0) + 1)
    }
    return length
  }
  const isShort = () => taken() > (most * 3) / 4
  return {
    isTight: () => taken() > most / 2,
    hasRoomFor(whose) {
      if (isShort()) return false
      const mostOfHolder = isWorkloadPrincipal(whose) ? MOST_OF_PROJECT : MOST_OF_PERSON
      return (holders.get(holderOf(whose)) ?? 0) < mostOfHolder
    },
    assertForStranger() {
      if (!isShort() && revokedKeys(facts.ids).length < MOST_STRANGE_KEYS) return
      throw new KeymanError(
        'conflict',
        'the list of what is revoked has no room for keys that nothing here was certified for',
        {
          hint: 'what has a certificate is revoked all the same: by person, session, key ID, serial or key',
        },
      )
    },
    tell(bytes) {
      const quarters = Math.floor((bytes * 4) / most)
      if (quarters <= told || quarters < 2) return
      told = quarters
      alarm(
        `the list of what is revoked has ${bytes} bytes, of ${most} that hosts and laptops read at most: see who ends so many sessions (keyman audit list --kind revoked); from three quarters on no certificate is made for a new session, and what ended thirty days ago is taken off by itself`,
      )
    },
  }
}

/** A person; of a workload the project. */
const holderOf = (whose: string): string => whose.split('/')[0] ?? whose
