import { isIP } from 'node:net'

/** An address of IPv4 that came over a socket of IPv6, as itself. */
export const plainAddress = (address: string) =>
  address.startsWith('::ffff:') && isIP(address.slice(7)) === 4 ? address.slice(7) : address
