/** Pure: by what a server knows that a server of this organisation heard a host say what it has in force. */
import { createHmac, timingSafeEqual } from 'node:crypto'

export type InForce = { readonly id: string; readonly revision: number; readonly krlVersion: bigint }

/**
 * HMAC-SHA256 over the members as a JSON array, under a key that only the servers have. An older one that somebody puts back
 * says that the host has less in force, which is no harm.
 */
export const inForceSeal = (key: Uint8Array, { id, revision, krlVersion }: InForce): Uint8Array =>
  new Uint8Array(
    createHmac('sha256', key)
      .update(JSON.stringify(['keyman-in-force-v1', id, revision, krlVersion.toString()]))
      .digest(),
  )

export function isHeard(key: Uint8Array, said: InForce, seal: Uint8Array | undefined): boolean {
  const expected = inForceSeal(key, said)
  return seal?.length === expected.length && timingSafeEqual(seal, expected)
}
