import type { Command } from './terminal/command.ts'

/** Every command with the file that holds it, loaded only when it is called: `keyman status` starts as fast as Node does. */
export const GROUPS: Readonly<Record<string, () => Promise<{ commands: Readonly<Record<string, Command>> }>>> = {
  login: () => import('./commands/login.ts'),
  logout: () => import('./commands/logout.ts'),
  status: () => import('./commands/status.ts'),
  ssh: () => import('./commands/ssh.ts'),
  why: () => import('./commands/why.ts'),
  admin: () => import('./commands/admin.ts'),
  revoke: () => import('./commands/revoke.ts'),
  person: () => import('./commands/person.ts'),
  invitation: () => import('./commands/invitation.ts'),
  team: () => import('./commands/team.ts'),
  grant: () => import('./commands/grant.ts'),
  role: () => import('./commands/role.ts'),
  project: () => import('./commands/project.ts'),
  host: () => import('./commands/host.ts'),
  session: () => import('./commands/session.ts'),
  passkey: () => import('./commands/passkey.ts'),
  audit: () => import('./commands/audit.ts'),
  trust: () => import('./commands/trust.ts'),
  config: () => import('./commands/config.ts'),
  doctor: () => import('./commands/doctor.ts'),
  completion: () => import('./commands/completion.ts'),
}
