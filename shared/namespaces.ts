/** Pure: the SSHSIG namespaces of what an organisation signs for others (PROTOCOL.sshsig): no signature serves for another purpose. */
/** By root keys: `ssh-keygen -Y verify -n keyman-trust` checks one. */
export const TRUST_NAMESPACE = 'keyman-trust'
/** By the log key: what hosts refuse. */
export const KRL_NAMESPACE = 'keyman-krl'
/** One of its own: the list for laptops lacks what users had, and must serve no host in the place of its own. */
export const REVOKED_HOSTS_NAMESPACE = 'keyman-revoked-hosts'
