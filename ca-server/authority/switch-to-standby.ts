import type { By } from '#server/access/index.ts'
import type { Ledger } from '#server/ledger/index.ts'
import type { Store } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { fingerprint, publicKeyFromSpki } from '#shared/ssh/index.ts'
import { told } from '#shared/told.ts'
import { authorityStates, type TrustBundle } from '#shared/trust/index.ts'
import type { HeldKeys } from './held-keys.ts'
import { KeyRing } from './keys.ts'
import { refuseMissing, sortKeys } from './known-keys.ts'
import { AUTHORITY_PURPOSES, type Purpose, selectKeys, setSigner } from './records.ts'
import { signerFact } from './signers.ts'

type SwitchDeps = {
  readonly store: Store
  readonly ledger: Pick<Ledger, 'appendIn'>
  readonly keys: () => KeyRing
  readonly verifiedBundle: () => TrustBundle | undefined
  readonly held: Pick<HeldKeys, 'of'>
}

export type Switched = { readonly purpose: Purpose; readonly from: string; readonly to: string }

/** What `switchToStandby` would do. Throws as it does. */
export async function planSwitch(deps: Omit<SwitchDeps, 'store' | 'ledger'>): Promise<Switched[]> {
  const ring = deps.keys()
  const bundle = deps.verifiedBundle()
  const trusted = bundle ? authorityStates(bundle) : new Map<string, string>()
  const switched: Switched[] = []
  for (const purpose of AUTHORITY_PURPOSES) {
    const keys = purpose === 'machines' ? ring.machines : ring.ssh.filter(key => key.purpose === purpose)
    const [from, to] = ['active', 'standby'].map(state => keys.find(key => key.state === state))
    if (!from || !to)
      throw new KeymanError('conflict', `there is no standby key for ${purpose}`, {
        hint: 'keystore.standby names a second keystore; standby keys are made there when the server starts',
      })
    if (!trusted.has(`${purpose} ${fingerprint(publicKeyFromSpki(to.spki))}`))
      throw new KeymanError(
        'conflict',
        `the standby key ${to.label} is not in the trust bundle: no host would believe it`,
        {
          hint: 'have the root of trust sign the bundle that waits: keyman trust sign',
        },
      )
    // Before anything is changed: a switch to what can not sign would be worse than none.
    const { name, keystore } = deps.held.of(to)
    await keystore.health().catch((cause: unknown) => {
      throw new KeymanError('unavailable', `${name}, which holds ${to.label}, does not sign: ${told(cause).message}`, {
        hint: told(cause).hint ?? 'nothing was changed; bring it back first, then try again: docs/server.md',
        cause,
      })
    })
    switched.push({ purpose, from: from.label, to: to.label })
  }
  return switched
}

/**
 * Makes the standby keys the ones that sign: hosts and laptops trust them already. Those that signed are retired, and what they have signed stays good.
 * Throws `conflict` where a purpose has no standby key or they are not those that were `confirmed`, `unavailable` where the keystore of one does not sign.
 */
export async function switchToStandby(deps: SwitchDeps, by: By, confirmed: readonly string[]): Promise<Switched[]> {
  const switched = await planSwitch(deps)
  const labels = switched.map(({ to }) => to).join(' ')
  if (labels !== confirmed.join(' '))
    throw new KeymanError('conflict', `the standby keys are ${labels} by now, not ${confirmed.join(' ')}`, {
      hint: 'look at them once more: keyman-server authority switch-to-standby',
    })
  await deps.store.transaction({ name: 'switch to the standby keys', deadlineMs: 10_000 }, async t => {
    for (const { purpose, to } of switched) await setSigner(t, purpose, to)
    await deps.ledger.appendIn(t, [
      {
        ...by,
        kind: 'authority-switched',
        target: labels,
        details: Object.fromEntries(switched.map(({ purpose, from, to }) => [purpose, `${from} -> ${to}`])),
        facts: switched.map(({ purpose, to }) => signerFact(purpose, to)),
      },
    ])
    await t.execute(`select pg_notify('authority', '')`, [])
  })
  return switched
}

/**
 * Both where no server runs, as one whose first keystore is lost can't be started before: what it would do, and with `confirmed` does it. `bundle`:
 * the newest that was verified.
 */
export async function switchWithoutServer(
  {
    store,
    ledger,
    held,
    bundle,
  }: {
    readonly store: Store
    readonly ledger: Pick<Ledger, 'appendIn' | 'facts'>
    readonly held: HeldKeys
    readonly bundle: TrustBundle | undefined
  },
  by: By,
  confirmed: readonly string[] | undefined,
): Promise<Switched[]> {
  const { known } = sortKeys(await selectKeys(store), held, bundle, ledger.facts)
  refuseMissing(known, bundle)
  const ring = new KeyRing(known)
  const deps = { store, ledger, held, keys: () => ring, verifiedBundle: () => bundle }
  return confirmed ? switchToStandby(deps, by, confirmed) : planSwitch(deps)
}
