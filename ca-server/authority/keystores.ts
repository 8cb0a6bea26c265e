import type { Keystore } from '#server/keystore/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import type { KeyRow } from './records.ts'
import type { Keystores } from './sign.ts'

/**
 * Which of this server's keystores holds which authority key, by what they said when they were last asked: one that has gone since still counts as
 * where its keys are.
 */
export class KeystoresOfKeys implements Keystores {
  readonly #keystores: readonly Keystore[]
  readonly #holders = new Map<string, Keystore>()
  readonly #activeLabel: () => string

  constructor(keystores: readonly Keystore[], activeLabel: () => string) {
    this.#keystores = keystores
    this.#activeLabel = activeLabel
  }

  /** Asks them anew, of these keys; one that is away says nothing. */
  async look(rows: readonly KeyRow[]): Promise<void> {
    for (const keystore of this.#keystores) {
      const held = await keystore.listKeys().catch(() => [])
      for (const { label, spki } of rows)
        if (held.some(key => key.label === label && equalBytes(key.spki, spki))) this.#holders.set(label, keystore)
    }
  }

  of(label: string): Keystore {
    const keystore = this.#holders.get(label)
    if (keystore) return keystore
    throw new KeymanError('unavailable', `no keystore of this server holds the authority key ${label}`, {
      hint: 'give this server the keystore that holds it: docs/server.md',
    })
  }
  active(): Keystore {
    return this.of(this.#activeLabel())
  }
}
