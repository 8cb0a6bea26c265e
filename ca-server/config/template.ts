/** Pure: the text of a new configuration, with a comment to whatever somebody may want to change. */

type Entry = {
  readonly path: string
  /** What stands there, as a comment, where nothing was given. */
  readonly example: string
  readonly comment?: string
}
type Part = { readonly heading: string; readonly table?: string; readonly entries: readonly Entry[] }

const PARTS: readonly Part[] = [
  {
    heading: 'A short name, which hosts and laptops show.',
    entries: [
      { path: 'organisation', example: '"example"' },
      {
        path: 'public_url',
        example: '"https://keys.example.com"',
        comment: 'what browsers open; its host is fixed with the first passkey',
      },
      { path: 'host_suffixes', example: '["prod.example.com"]', comment: 'which hosts this organisation answers for' },
      { path: 'data_folder', example: '"/var/lib/keyman"', comment: 'for this user alone' },
      { path: 'trusted_proxies', example: '["127.0.0.1"]', comment: 'whose X-Forwarded-For is believed' },
    ],
  },
  {
    heading: 'For browsers. After both files were renewed: SIGHUP.',
    table: 'pages',
    entries: [
      { path: 'pages.listen', example: '"0.0.0.0:443"' },
      {
        path: 'pages.proxy_protocol_from',
        example: '["192.0.2.10"]',
        comment: 'balancers that have to send the PROXY protocol, v1 or v2',
      },
      { path: 'pages.tls_certificate', example: '"/etc/keyman/pages.crt"' },
      { path: 'pages.tls_key', example: '"/etc/keyman/pages.key"' },
    ],
  },
  {
    heading: "For laptops and hosts, by a certificate of KeyMan's own: nothing that ends TLS may stand before it.",
    table: 'machines',
    entries: [
      { path: 'machines.listen', example: '"0.0.0.0:4443"' },
      { path: 'machines.proxy_protocol_from', example: '["192.0.2.10"]' },
      { path: 'machines.url', example: '"https://keys.example.com:4443"' },
      { path: 'machines.names', example: '["keys.example.com"]' },
    ],
  },
  {
    heading: 'PostgreSQL; without it embedded, in data_folder. Over a network: ?sslmode=verify-full&sslrootcert=FILE',
    table: 'database',
    entries: [
      {
        path: 'database.url',
        example: '"postgresql://keyman_app@db.example.com/keyman"',
        comment: 'a role that only uses the tables',
      },
      { path: 'database.password_file', example: '"/etc/keyman/database-password"', comment: 'mode 0600' },
      {
        path: 'database.migration_url',
        example: '"postgresql://keyman_migrate@db.example.com/keyman"',
        comment: 'owns the tables',
      },
      { path: 'database.migration_password_file', example: '"/etc/keyman/migration-password"' },
    ],
  },
  {
    heading: 'Where the authority keys are; without it in encrypted files below data_folder.',
    table: 'keystore',
    entries: [
      { path: 'keystore.kind', example: '"pkcs11"' },
      { path: 'keystore.module', example: '"/usr/lib/softhsm/libsofthsm2.so"', comment: "the vendor's module itself" },
      { path: 'keystore.token', example: '"keyman"' },
      { path: 'keystore.pin_file', example: '"/etc/keyman/pin"', comment: 'mode 0600' },
    ],
  },
  {
    heading: 'ed25519, or ecdsa-p256, which more HSMs have.',
    table: 'authority',
    entries: [{ path: 'authority.algorithm', example: '"ed25519"' }],
  },
  {
    heading: 'Of a further server on the same database: the root of trust, as keyman trust show prints it.',
    table: 'trust',
    entries: [{ path: 'trust.root_fingerprint', example: '"SHA256:…"' }],
  },
]

/** The settings that a new configuration may hold, in its order. */
export const TEMPLATE_SETTINGS: readonly string[] = PARTS.flatMap(({ entries }) => entries.map(({ path }) => path))

/** Each with what it may be. */
export const TEMPLATE_EXAMPLES: ReadonlyMap<string, string> = new Map(
  PARTS.flatMap(({ entries }) => entries.map(({ path, example }) => [path, example])),
)

/** TOML. A value's text is JSON's, which TOML takes for strings and lists of them. */
export function configText(values: ReadonlyMap<string, unknown>, file: string): string {
  const lines = [
    `# KeyMan's server; what each setting means: docs/server.md`,
    `# Whether all of it fits:  keyman-server check-config --config ${file}`,
  ]
  for (const { heading, table, entries } of PARTS) {
    const used = entries.some(({ path }) => values.has(path))
    lines.push('', `# ${heading}`)
    if (table !== undefined) lines.push(used ? `[${table}]` : `# [${table}]`)
    for (const { path, example, comment } of entries) {
      const name = table === undefined ? path : path.slice(table.length + 1)
      const line = values.has(path)
        ? `${name} = ${JSON.stringify(values.get(path), undefined, 1).replace(/\n */g, ' ')}`
        : `# ${name} = ${example}`
      lines.push(comment === undefined ? line : `${line.padEnd(50)} # ${comment}`)
    }
  }
  return `${lines.join('\n')}\n`
}

/**
 * What packages bring: everything in its place, on this machine alone, and nothing decided. Short, and the same in each
 * release: whoever has a file of their own is asked by dpkg each time that this one changes.
 */
export const PACKAGED_CONFIG = `# KeyMan's server, as it was installed: at http://localhost:4480, for this machine alone.
# keyman-server init --user keyman-server  writes this file anew, with what there is to set. What each setting means: docs/server.md
data_folder = "/var/lib/keyman"
`
