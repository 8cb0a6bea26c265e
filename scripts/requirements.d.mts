export type Requirement =
  | 'ssh'
  | 'gpg-agent'
  | 'sshd'
  | 'softhsm'
  | 'p11-kit'
  | 'softokn'
  | 'opensc'
  | 'rsync'
  | 'postgresql'
  | 'pgbouncer'
  | 'chromium'
  | 'cc'
  | 'openssl'
  | 'git'
  | 'fuse'
export const REQUIREMENTS: Readonly<
  Record<Requirement, { readonly packages: readonly string[]; readonly find: () => string | undefined }>
>
export function missingRequirements(): Requirement[]
export function program(name: string): string | undefined
