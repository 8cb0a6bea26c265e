/** Pure: by what a server knows that a server of this organisation heard a host say what it has in force. */
import { toHex } from '#shared/bytes.ts'
import { isMacOf, macOf } from '#shared/mac.ts'

export type InForce = {
  readonly id: string
  readonly revision: number
  readonly krlVersion: bigint
  /** Of all that it was told: see `desired-state.ts`. A row of before has none. */
  readonly hash: Uint8Array | undefined
}

const partsOf = ({ id, revision, krlVersion, hash }: InForce) =>
  ['keyman-in-force-v2', id, revision, krlVersion.toString(), hash ? toHex(hash) : ''] as const

/**
 * Under a key that only the servers have. An older one that somebody puts back says that the host has an older list in force, which is
 * no harm; but by its digest it may be what the host is to have again: see `wait-in-force.ts`.
 */
export const inForceSeal = (key: Uint8Array, said: InForce): Uint8Array => macOf(key, partsOf(said))

export const isHeard = (key: Uint8Array, said: InForce, seal: Uint8Array | undefined): boolean =>
  seal !== undefined && isMacOf(key, partsOf(said), seal)
