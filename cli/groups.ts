import type { Command } from './terminal/command.ts'

/** Every command with the file that holds it, loaded only when it is called: `keyman status` starts as fast as Node does. */
export const GROUPS: Readonly<Record<string, () => Promise<{ commands: Readonly<Record<string, Command>> }>>> = {
  login: () => import('./commands/login.ts'),
  logout: () => import('./commands/logout.ts'),
  status: () => import('./commands/status.ts'),
  ssh: () => import('./commands/ssh.ts'),
  why: () => import('./commands/why.ts'),
  admin: () => import('./commands/administration/admin.ts'),
  revoke: () => import('./commands/administration/revoke.ts'),
  person: () => import('./commands/administration/person.ts'),
  invitation: () => import('./commands/administration/invitation.ts'),
  team: () => import('./commands/administration/team.ts'),
  grant: () => import('./commands/administration/grant.ts'),
  role: () => import('./commands/administration/role.ts'),
  project: () => import('./commands/administration/project.ts'),
  host: () => import('./commands/administration/host.ts'),
  workload: () => import('./commands/administration/workload.ts'),
  session: () => import('./commands/session.ts'),
  passkey: () => import('./commands/passkey.ts'),
  audit: () => import('./commands/administration/audit.ts'),
  trust: () => import('./commands/administration/trust.ts'),
  authority: () => import('./commands/administration/authority.ts'),
  config: () => import('./commands/config.ts'),
  doctor: () => import('./commands/doctor.ts'),
  completion: () => import('./commands/completion.ts'),
}
