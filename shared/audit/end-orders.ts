/**
 * Pure: whose sessions on hosts are to end, as the records say it. A certificate that has ended by itself let somebody in who may still be
 * there: so who is meant is named, not the certificates that are good at the moment.
 */
import type { Fact } from './facts.ts'

export type EndSelector =
  | { readonly of: string }
  | { readonly session: string }
  | { readonly keyId: string }
  | { readonly serial: string; readonly authority: string }
  | { readonly key: string }
/** `number`: the version of the revocation list that was made with it. `at`: seconds since 1970. */
export type EndOrder = EndSelector & { readonly number: bigint; readonly at: bigint }

const ORDERS = 'host-sessions-end:'

/** An ID says everything, as those of revocations do. No part has a blank. */
export function endOrderFact({ number, at, ...whose }: EndOrder): Fact {
  const parts =
    'of' in whose
      ? ['of', whose.of]
      : 'session' in whose
        ? ['session', whose.session]
        : 'keyId' in whose
          ? ['key-id', whose.keyId]
          : 'key' in whose
            ? ['key', whose.key]
            : ['serial', whose.serial, whose.authority]
  return { id: `${ORDERS}${number} ${at} ${parts.join(' ')}`, is: 'end' }
}

/** In the order of their numbers. */
export function readEndOrders(
  ids: (prefix: string) => Iterable<string>,
): (EndOrder & { readonly id: string; readonly until: bigint })[] {
  const found: (EndOrder & { readonly id: string; readonly until: bigint })[] = []
  for (const id of ids(ORDERS)) {
    const [number = '', at = '', ...parts] = id.slice(ORDERS.length).split(' ')
    const whose = selectorOf(parts)
    if (!/^[0-9]+$/.test(number) || !/^[0-9]+$/.test(at) || !whose) continue
    found.push({ ...whose, id, number: BigInt(number), at: BigInt(at), until: BigInt(at) })
  }
  return found.sort((a, b) => (a.number === b.number ? (a.id < b.id ? -1 : 1) : a.number < b.number ? -1 : 1))
}

function selectorOf([kind, value, authority]: readonly string[]): EndSelector | undefined {
  if (value === undefined) return undefined
  if (kind === 'of') return { of: value }
  if (kind === 'session') return { session: value }
  if (kind === 'key-id') return { keyId: value }
  if (kind === 'key') return { key: value }
  return kind === 'serial' && authority !== undefined ? { serial: value, authority } : undefined
}
