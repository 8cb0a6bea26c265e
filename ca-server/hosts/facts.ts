/** Pure: what of this room's rows lets a host in, as the records say it (`shared/audit/facts.ts`). */
import type { Fact } from '#server/ledger/index.ts'
import { toHex } from '#shared/bytes.ts'

export const hostId = (id: string): string => `host:${id}`
export const hostFact = (host: {
  readonly id: string
  readonly name: string
  readonly aliases?: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  readonly place?: string | undefined
  readonly port: number
  readonly address?: string | undefined
  readonly clientSpki?: Uint8Array | undefined
}): Fact => ({
  id: hostId(host.id),
  is: {
    name: host.name,
    // Absent where there are none, as records say it that are older than aliases; so is the place.
    aliases: host.aliases?.length ? [...host.aliases] : undefined,
    labels: { ...host.labels },
    place: host.place,
    port: host.port,
    address: host.address,
    clientSpki: host.clientSpki && toHex(host.clientSpki),
  },
})

export const tokenId = (hash: Uint8Array): string => `join-token:${toHex(hash)}`
export const tokenFact = (token: {
  readonly hash: Uint8Array
  readonly host: string
  readonly endsAt: Date
}): Fact => ({
  id: tokenId(token.hash),
  is: { host: token.host, endsAt: token.endsAt.toISOString() },
  until: token.endsAt,
})
