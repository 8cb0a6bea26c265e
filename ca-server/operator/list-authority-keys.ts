import { existsSync } from 'node:fs'
import { pinnedBundle } from '#server/authority/index.ts'
import { openPins } from '#server/pins/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { fingerprint, publicKeyFromSpki } from '#shared/ssh/index.ts'
import { type AuthorityState, authorityStates, logKeyFingerprint, logKeysOf } from '#shared/trust/index.ts'
import type { ServerConfig } from '../config/index.ts'
import { hasLogKeystore, openConfigured, openLogKeystore } from '../open-base.ts'
import { nameConfig } from './which-config.ts'

export type ListedKey = {
  readonly label: string
  readonly purpose: string
  /** In the newest bundle that this server has verified; `unpublished` where it does not name it. Of log keys none is the active one: `trusted`. */
  readonly state: AuthorityState | 'trusted' | 'unpublished'
  /** As `keyman trust show --next` shows it. */
  readonly fingerprint: string
  readonly keystore: string
}

/**
 * What the keystores hold, read from them and not from the database: what whoever signs a trust bundle compares its keys
 * with. The states are those of the pinned bundle, which the root of trust signed. `away`: why a keystore says nothing.
 */
export async function listAuthorityKeys(
  config: ServerConfig,
): Promise<{ readonly keys: readonly ListedKey[]; readonly away: readonly KeymanError[] }> {
  // Opening a software keystore makes one where there is none.
  if (!existsSync(config.dataFolder))
    throw new KeymanError('not-found', `there is no data folder ${config.dataFolder}`, {
      hint: nameConfig(),
    })
  const bundle = await pinnedBundle(openPins(config.dataFolder))
  const states: Map<string, ListedKey['state']> = bundle ? authorityStates(bundle) : new Map()
  for (const key of bundle ? logKeysOf(bundle) : []) states.set(`log ${logKeyFingerprint(key)}`, 'trusted')
  const listed: ListedKey[] = []
  const away: KeymanError[] = []
  const { keystore: first, standbyKeystore: second } = config
  for (const [name, open] of [
    ['keystore', () => openConfigured('keystore', first)],
    ['keystore.standby', second && (() => openConfigured('keystore.standby', second))],
    ['log-keystore', hasLogKeystore(config) ? () => openLogKeystore(config) : undefined],
  ] as const) {
    if (!open) continue
    const keystore = await open().catch((error: unknown) => {
      if (!(error instanceof KeymanError) || error.code !== 'unavailable') throw error
      away.push(error)
    })
    if (!keystore) continue
    try {
      for (const { label, spki } of await keystore.listKeys()) {
        const purpose = /^(ssh-user|ssh-host|machines|log)-[0-9]+$/.exec(label)?.[1]
        if (purpose === undefined) continue
        const print = fingerprint(publicKeyFromSpki(spki))
        const state = states.get(`${purpose} ${print}`) ?? 'unpublished'
        listed.push({ label, purpose, state, fingerprint: print, keystore: `${name} (${keystore.kind})` })
      }
    } finally {
      await keystore.close()
    }
  }
  return { keys: listed, away }
}
