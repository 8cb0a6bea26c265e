import { createHash } from 'node:crypto'
import type { Krl } from '#server/authority/index.ts'
import type { hostStream } from '#shared/api/index.ts'
import { endOrder, MAX_PRINCIPALS, MAX_PRINCIPALS_BYTES, MOST_END_ORDERS } from '#shared/api/resources/host-stream.ts'
import { readEndOrders } from '#shared/audit/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import type { HostsDeps, PrincipalsLine, SignedBundle } from './port.ts'
import type { HostRow } from './records.ts'
import type { InTurn } from './streams/slices.ts'

/** What one host is to have, and a digest of it: the same content gives the same digest on every server. */
export type Content = {
  readonly state: Omit<hostStream.DesiredState, 'revision'>
  readonly hash: Uint8Array
  readonly krlVersion: bigint
  /** Logins that do not fit into what a host can be told: nobody gets in as these, and all else goes on. */
  readonly leftOut: readonly string[]
}
export type NumberedContent = Content & { readonly revision: number }

/** A KRL goes to every host: it is encoded and hashed once. */
const encodedKrls = new WeakMap<Krl, { base64: string; digest: string }>()
function encoded(krl: Krl) {
  let known = encodedKrls.get(krl)
  if (!known) {
    known = { base64: toBase64(krl.bytes), digest: createHash('sha256').update(krl.bytes).digest('hex') }
    encodedKrls.set(krl, known)
  }
  return known
}

/** Hosts with the same principals have the same content, until something else of it changes: it is hashed once. */
const made = new WeakMap<ReturnType<HostsDeps['principalsFor']>, { common: string; content: Content }>()

type Deps = Pick<HostsDeps, 'store' | 'principalsFor' | 'currentKrl' | 'trustBundles'> & {
  readonly ledger: { readonly facts: Pick<HostsDeps['ledger']['facts'], 'ids'> }
}

type Host = Pick<HostRow, 'name' | 'labels' | 'place'>

export const contentFor = async (deps: Deps, host: Host, inTurn: InTurn): Promise<Content> =>
  (await contentsFor(deps, inTurn))(host)

/** For many hosts at once: what they share is read once. */
export async function contentsFor(deps: Deps, inTurn: InTurn): Promise<(host: Host) => Promise<Content>> {
  const [krl, bundles] = await Promise.all([deps.currentKrl(), deps.trustBundles()])
  const ends = endOrders(deps.ledger)
  return host => inTurn(() => make(deps, host, { krl, bundles, ends }))
}

type Shared = {
  readonly krl: Krl
  readonly bundles: readonly SignedBundle[]
  readonly ends: readonly hostStream.EndOrder[]
}

/** The newest of them; a host that was away while there were more goes on with what is older. */
function endOrders({ facts }: Deps['ledger']): hostStream.EndOrder[] {
  const newest = readEndOrders(facts.ids).slice(-MOST_END_ORDERS)
  // What is no order by the schema's names is nobody's.
  return newest.flatMap(({ id, at, until, number, ...whose }) => {
    const order = endOrder.safeParse({ ...whose, number: number.toString() })
    return order.success ? [order.data] : []
  })
}

/** Without waiting in between: principals and hash are of one moment. */
function make(deps: Pick<Deps, 'store' | 'principalsFor'>, host: Host, { krl, bundles, ends }: Shared): Content {
  const named = deps.principalsFor({ name: host.name, labels: host.labels, place: host.place })
  const { base64, digest } = encoded(krl)
  const { incarnation } = deps.store
  const version = String(krl.version)
  const trust = { bundles: bundles.map(({ document, signatures }) => ({ document, signatures: [...signatures] })) }
  const canary = [...krl.canaries]
  const common = JSON.stringify({ incarnation, trust, canary, version, digest, signature: krl.signature, ends })
  const known = made.get(named)
  if (known?.common === common) return known.content
  const { principals, leftOut } = fitting(named)
  const hash = createHash('sha256')
    .update(
      JSON.stringify({ incarnation, principals, trust, canary, version, digest, ...(ends.length > 0 ? { ends } : {}) }),
    )
    .digest()
  const content = {
    state: {
      ...{ incarnation, trust, principals, krl: { version, base64, signature: krl.signature, canary } },
      ...(ends.length > 0 ? { ends: [...ends] } : {}),
    },
    hash: new Uint8Array(hash),
    krlVersion: krl.version,
    leftOut,
  }
  made.set(named, { common, content })
  return content
}

/**
 * Whoever asks for more is refused; but rows may be older than that rule, or two servers may have been asked at once. A host
 * that cannot read what it is told would be deaf to revocations as well, so that a login that is too much is no login.
 */
function fitting(named: ReturnType<HostsDeps['principalsFor']>) {
  const principals: Record<string, PrincipalsLine[]> = {}
  const leftOut: string[] = []
  let room = MAX_PRINCIPALS_BYTES
  for (const login of Object.keys(named).sort()) {
    const lines = [...(named[login] ?? [])]
    const bytes = lines.length > MAX_PRINCIPALS ? Number.POSITIVE_INFINITY : JSON.stringify(lines).length - 2
    if (bytes > room) {
      leftOut.push(login)
      continue
    }
    room -= bytes
    principals[login] = lines
  }
  return { principals, leftOut }
}
