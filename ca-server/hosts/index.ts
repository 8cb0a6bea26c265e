/** The door of this room: which hosts there are, how they join, and what each is to have in force. */
export { createHosts } from './create-hosts.ts'
export type {
  HostChannel,
  HostConnection,
  HostInForce,
  Hosts,
  HostsDeps,
  HostView,
  JoinRequest,
  LivingHost,
  NewHost,
  PrincipalsLine,
  SignedBundle,
} from './port.ts'
export { endTokensIn } from './records.ts'
export { takeHostsIn } from './restore.ts'
export { hostRows } from './stated-rows.ts'
