/** Pure: the keys that a login can make, best first, and what sshd and ssh call certificates of them. RSA is signed with SHA-2 only. */
const CERTIFICATES = {
  ed25519: ['ssh-ed25519-cert-v01@openssh.com'],
  'ecdsa-p256': ['ecdsa-sha2-nistp256-cert-v01@openssh.com'],
  'rsa-3072': ['rsa-sha2-512-cert-v01@openssh.com', 'rsa-sha2-256-cert-v01@openssh.com'],
} as const
export type LoginKeyType = keyof typeof CERTIFICATES

export const LOGIN_KEY_TYPES: readonly LoginKeyType[] = ['ed25519', 'ecdsa-p256', 'rsa-3072']
export const RSA_BITS = 3072

export const isLoginKeyType = (text: string): text is LoginKeyType => LOGIN_KEY_TYPES.some(type => type === text)

/** Those whose certificates are on a list such as `PubkeyAcceptedAlgorithms`. */
export const keyTypesOn = (algorithms: readonly string[]): LoginKeyType[] =>
  LOGIN_KEY_TYPES.filter(type => CERTIFICATES[type].some(name => algorithms.includes(name)))
