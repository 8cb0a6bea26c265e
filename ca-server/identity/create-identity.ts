import type { Identity, IdentityDeps } from './port.ts'

export async function createIdentity(_deps: IdentityDeps): Promise<Identity> {
  throw new Error('not yet')
}
