/** The door of this room: who was let in on hosts, as the hosts tell it. */
export { createLogins } from './create-logins.ts'
export type { LoginFilter, Logins, LoginsDeps, LoginView } from './port.ts'
