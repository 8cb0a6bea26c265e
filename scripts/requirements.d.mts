export type Requirement = 'ssh' | 'sshd' | 'softhsm' | 'opensc' | 'postgresql' | 'chromium' | 'cc' | 'openssl' | 'git'
export const REQUIREMENTS: Readonly<
  Record<Requirement, { readonly packages: readonly string[]; readonly find: () => string | undefined }>
>
export function missingRequirements(): Requirement[]
export function program(name: string): string | undefined
