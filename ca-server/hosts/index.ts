/** The door of this room: which hosts there are, how they join, and what each is to have in force. */
export { createHosts } from './create-hosts.ts'
export type {
  By,
  HostCaller,
  HostChannel,
  HostConnection,
  HostInForce,
  Hosts,
  HostsDeps,
  HostView,
  IssuedClientCertificate,
  JoinRequest,
  Krl,
  LivingHost,
  NewHost,
  PrincipalsLine,
  SignedBundle,
} from './port.ts'
