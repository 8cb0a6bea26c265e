import type { Context, Session } from '../context/context.ts'

/** What `--json` says of somebody who is signed in: `status`, `login` and `ssh renew` say the same. */
export const signedInJson = (context: Context, session: Session) => ({
  signedIn: true,
  organisation: context.organisation,
  server: context.machinesUrl,
  ...session,
  hosts: context.hosts,
})
