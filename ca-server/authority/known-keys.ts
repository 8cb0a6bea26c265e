import { X509Certificate } from 'node:crypto'
import type { Ledger } from '#server/ledger/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { formatPublicKey, parseCertificate, publicKeyFromSpki, verifyCertificate } from '#shared/ssh/index.ts'
import type { TrustBundle } from '#shared/trust/index.ts'
import type { HeldKeys } from './held-keys.ts'
import type { KeyRow } from './records.ts'
import { isSigner, stateOf } from './signers.ts'
import { CANARY_KEY_ID, CANARY_SERIAL } from './ssh/canary.ts'

/**
 * Which rows are authority keys. A row alone makes none, whoever wrote it: a keystore of this server must hold the key by
 * that very label, or the newest bundle that the root of trust signed must name it. Its state is the bundle's, unless the sealed log says that another
 * key signs since.
 */
export type SortedKeys = { readonly known: readonly KeyRow[]; readonly refused: readonly KeyRow[] }

export function sortKeys(
  rows: readonly KeyRow[],
  held: Pick<HeldKeys, 'find' | 'labelsOf'>,
  bundle: TrustBundle | undefined,
  facts: Pick<Ledger['facts'], 'holds' | 'has'>,
): SortedKeys {
  const isHeld = (row: KeyRow) =>
    // The purpose is in the label, so that a row can't make a host authority of a user authority or of the log key.
    new RegExp(`^${row.purpose}-[0-9]+$`).test(row.label) && held.find(row) !== undefined && signedItself(row)
  // A second row of a key, by another label, would give that label's serials and revocations to it.
  const isItsLabel = (row: KeyRow) => {
    const labels = held.labelsOf(row.spki)
    return labels.length === 0 || labels.includes(row.label)
  }
  const mayBe = (named: readonly string[], row: KeyRow) => {
    const state = stateOf(facts, row)
    const signs = isSigner(facts, row)
    return (
      named.includes(state) || signs === true || (signs === false && state === 'retired' && named.includes('active'))
    )
  }
  const known = rows.filter(row => {
    try {
      const named = statesIn(bundle, row)
      return named.length > 0
        ? // A root stands in the bundle itself; a canary that is none would have hosts refuse every list.
          mayBe(named, row) && isItsLabel(row) && (row.purpose === 'machines' || signedItself(row))
        : isHeld(row)
    } catch {
      return false
    }
  })
  return {
    known: known.map(row => ({ ...row, state: stateOf(facts, row) })),
    refused: rows.filter(row => !known.includes(row)),
  }
}

/** A key that is trusted and has no row would be forgotten by the next bundle. Throws `denied`. */
export function refuseMissing(known: readonly KeyRow[], bundle: TrustBundle | undefined): void {
  if (!bundle) return
  const texts = new Set(known.map(row => `${row.purpose} ${textOf(row)}`))
  const named = [
    ...bundle.ssh.userAuthorities.map(({ key }) => `ssh-user ${key}`),
    ...bundle.ssh.hostAuthorities.map(({ key }) => `ssh-host ${key}`),
    ...bundle.x509.map(({ purpose, certificate }) => `${purpose} ${certificate}`),
  ]
  const missing = named.filter(text => !texts.has(text)).map(text => text.split(' ')[0])
  if (missing.length > 0)
    throw new KeymanError(
      'denied',
      `the database lacks ${missing.length} of the authority keys that the root of trust signed, or says otherwise of them: ${missing.join(', ')}`,
      { hint: 'somebody changed the table authority_key, or it is an older database: restore it; see docs/trust.md' },
    )
}

/** What the bundle says of this key; nothing where it does not name it. Throws for bytes that are no key. */
export function statesIn(bundle: TrustBundle | undefined, row: KeyRow): string[] {
  if (!bundle) return []
  const text = textOf(row)
  if (row.purpose === 'machines') return bundle.x509.filter(root => root.certificate === text).map(({ state }) => state)
  const keys = row.purpose === 'ssh-user' ? bundle.ssh.userAuthorities : bundle.ssh.hostAuthorities
  return keys.filter(({ key }) => key === text).map(({ state }) => state)
}

/** As the bundle names it: the key's line, or the root's certificate. Throws for bytes that are no key. */
function textOf(row: KeyRow): string {
  if (row.purpose !== 'machines') return formatPublicKey(publicKeyFromSpki(row.spki))
  const spki = new Uint8Array(
    new X509Certificate(row.certificate ?? '').publicKey.export({ format: 'der', type: 'spki' }),
  )
  if (!equalBytes(spki, row.spki)) throw new KeymanError('denied', `${row.label} is not the key of its certificate`)
  return row.certificate ?? ''
}

/** What stands beside a key is by the key itself: its canary, or its self-signed root. */
function signedItself(row: KeyRow): boolean {
  if (row.purpose === 'ssh-host') return row.certificate === null
  if (row.purpose === 'machines') {
    const root = new X509Certificate(textOf(row))
    return root.ca && root.verify(root.publicKey)
  }
  const canary = parseCertificate(row.certificate ?? '')
  return (
    verifyCertificate(canary, [publicKeyFromSpki(row.spki)]) &&
    canary.serial === CANARY_SERIAL &&
    canary.keyId === CANARY_KEY_ID
  )
}
