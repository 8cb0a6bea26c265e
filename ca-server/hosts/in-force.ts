/** Pure: by what a server knows that a server of this organisation heard a host say what it has in force. */
import { isMacOf, macOf } from '#shared/mac.ts'

export type InForce = { readonly id: string; readonly revision: number; readonly krlVersion: bigint }

const partsOf = ({ id, revision, krlVersion }: InForce) =>
  ['keyman-in-force-v1', id, revision, krlVersion.toString()] as const

/**
 * Under a key that only the servers have. An older one that somebody puts back says that the host has less in force, which is
 * no harm.
 */
export const inForceSeal = (key: Uint8Array, said: InForce): Uint8Array => macOf(key, partsOf(said))

export const isHeard = (key: Uint8Array, said: InForce, seal: Uint8Array | undefined): boolean =>
  seal !== undefined && isMacOf(key, partsOf(said), seal)
