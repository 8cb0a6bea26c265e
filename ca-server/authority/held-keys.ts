import type { AwayKeystore, Keystore, KeystoreKey } from '#server/keystore/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { told } from '#shared/told.ts'
import type { AuthorityKey } from './sign.ts'

/** `name`: the setting that names it. */
type Holder = {
  readonly name: 'keystore' | 'keystore.standby'
  readonly keystore: Keystore
  held: readonly KeystoreKey[]
  away: KeymanError | undefined
}
type Named = Pick<AuthorityKey, 'label' | 'spki'>

/**
 * Which of this server's keystores holds which key, by what each said when it last answered: one that is away since still counts as where its
 * keys are.
 */
export class HeldKeys {
  readonly #holders: readonly Holder[]
  readonly #neverOpened: AwayKeystore | undefined

  private constructor(holders: readonly Holder[], neverOpened: AwayKeystore | undefined) {
    this.#holders = holders
    this.#neverOpened = neverOpened
  }

  /** Asks each once. Throws `unavailable` where one does not answer, and says which. `neverOpened`: of two the one that could not be opened. */
  static async ask(keystore: Keystore, standbyKeystore?: Keystore, neverOpened?: AwayKeystore): Promise<HeldKeys> {
    const name = neverOpened?.name === 'keystore' ? 'keystore.standby' : 'keystore'
    const holders: Holder[] = [{ name, keystore, held: [], away: undefined }]
    if (standbyKeystore)
      holders.push({ name: 'keystore.standby', keystore: standbyKeystore, held: [], away: undefined })
    const asked = new HeldKeys(holders, neverOpened)
    await asked.askAgain()
    for (const { name, away } of holders)
      if (away)
        throw new KeymanError(away.code, `${name} does not say which keys it holds: ${away.message}`, {
          ...(away.hint === undefined ? {} : { hint: away.hint }),
          cause: away,
        })
    return asked
  }

  async askAgain(): Promise<void> {
    await Promise.all(
      this.#holders.map(async holder => {
        try {
          holder.held = await holder.keystore.listKeys()
          holder.away = undefined
        } catch (error) {
          holder.away = told(error)
        }
      }),
    )
  }

  /** Those that did not answer when they were last asked: why, and the labels of what they held before, as far as that is known. */
  away(): readonly { readonly name: string; readonly why: string; readonly held?: readonly string[] }[] {
    const never = this.#neverOpened
    return [
      ...(never ? [{ name: never.name, why: never.error.message }] : []),
      ...this.#holders.flatMap(({ name, away, held }) =>
        away ? [{ name, why: away.message, held: held.map(({ label }) => label) }] : [],
      ),
    ]
  }

  add(keystore: Keystore, key: KeystoreKey): void {
    for (const holder of this.#holders) if (holder.keystore === keystore) holder.held = [...holder.held, key]
  }

  labels(): ReadonlySet<string> {
    return new Set(this.#holders.flatMap(({ held }) => held.map(({ label }) => label)))
  }
  /** By which the keystores know this key. */
  labelsOf(spki: Uint8Array): readonly string[] {
    return this.#holders.flatMap(({ held }) => held.filter(key => equalBytes(key.spki, spki)).map(({ label }) => label))
  }
  find({ label, spki }: Named): Pick<Holder, 'name' | 'keystore'> | undefined {
    return this.#holders.find(({ held }) => held.some(key => key.label === label && equalBytes(key.spki, spki)))
  }

  /** Throws `unavailable` where no keystore of this server holds it, and says which was asked. */
  of(key: Named): Pick<Holder, 'name' | 'keystore'> {
    const found = this.find(key)
    if (found) return found
    const never = this.#neverOpened
    if (never)
      throw new KeymanError(
        'unavailable',
        `${never.name} is away, and the key ${key.label}, which hosts trust, is in no other keystore of this server: ${never.error.message}`,
        {
          hint: 'bring it back. If it is lost: keyman-server authority switch-to-standby makes the standby keys the ones that sign, also where no server runs; then start again: docs/server.md',
          cause: never.error,
        },
      )
    const other = this.#holders.find(({ held }) => held.some(({ label }) => label === key.label))
    const names = this.#holders.map(({ name }) => name).join(', ')
    throw new KeymanError(
      'unavailable',
      other
        ? `${other.name} holds another key by the name of ${key.label}, which hosts trust`
        : `no keystore of this server (${names}) holds the key ${key.label}, which hosts trust`,
      {
        hint: 'give the server the keystores that belong to this database, or restore both from one backup: docs/server.md',
      },
    )
  }
}
