import { expect, it } from 'vitest'
import { schemas } from './api/index.ts'
import { isAddressRange } from './ip-address.ts'

const grantFrom = (...sourceAddress: string[]) =>
  schemas.newGrant.safeParse({
    who: 'alice@example.com',
    login: 'deploy',
    hosts: { host: 'web1.example.com' },
    options: { sourceAddress },
  }).success

it.each(['10.0.0.0/8', '192.0.2.7', '192.0.2.7/32', '0.0.0.0/0', '2001:db8::/32', '::1', '2001:db8::1/128'])(
  '%s is an address or a network, and a grant may name it',
  text => expect([isAddressRange(text), grantFrom(text)]).toEqual([true, true]),
)

it.each(['10.0.0.1/8', '2001:db8::1/32', '10.0.0.0/33', '10.0.0.0/08', '10.0.0.0/', '10.0.0.0/8/8', '*', 'web1', ''])(
  '%j is none that sshd would match, and no grant takes it',
  text => expect([isAddressRange(text), grantFrom('192.0.2.7', text)]).toEqual([false, false]),
)

it('a grant that names no address at all would let nobody in, and is refused', () => {
  expect(grantFrom()).toBe(false)
})
