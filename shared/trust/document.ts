import { X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { fromBase64 } from '../bytes.ts'
import { invalid } from '../errors.ts'
import { isHostName } from '../names.ts'
import { formatPublicKey, parsePublicKey } from '../ssh/index.ts'
import { fromPem, isOrganisation, toPem } from '../x509/index.ts'

/** Pure: the document inside a trust bundle, a JSON text of which there is exactly one spelling for one content. */

export type AuthorityState = 'active' | 'standby' | 'retired'

export type TrustRoots = {
  /** How many of the keys have to sign. */
  readonly threshold: number
  /** OpenSSH public keys, one line each, without comment. */
  readonly keys: readonly string[]
}

export type TrustBundle = {
  readonly format: 'keyman-trust-v1'
  readonly organisation: string
  /** Goes only forward. */
  readonly version: number
  /** The identity of the database's history. */
  readonly incarnation: string
  readonly publicUrl: string
  readonly machinesUrl: string
  /** Host names that this organisation claims: whatever ends in one of these, at least two labels each. */
  readonly hostSuffixes: readonly string[]
  readonly roots: TrustRoots
  /** `key`: one line without comment. `retired` keys sign no more and are still trusted for what they signed. */
  readonly ssh: {
    readonly userAuthorities: readonly { readonly key: string; readonly state: AuthorityState }[]
    readonly hostAuthorities: readonly { readonly key: string; readonly state: AuthorityState }[]
  }
  /** `certificate`: PEM of a self-signed root. */
  readonly x509: readonly {
    readonly purpose: 'machines'
    readonly certificate: string
    readonly state: AuthorityState
  }[]
  /** Signs checkpoints and KRLs. `key`: base64 of the 32 bytes of an Ed25519 public key. */
  readonly logKey: { readonly name: string; readonly key: string }
  /** The same, of the log of that name: all are believed alike. Left out where there is none, so that such a document has one spelling. */
  readonly otherLogKeys?: readonly string[] | undefined
}

/** A log key for each keystore that there ever was; how many a document names at most. */
export const MAX_LOG_KEYS = 16

/** As much as can be published: see `signedBundle` in `shared/api`. */
const MAX_DOCUMENT = 40_000

const sshKey = z
  .string()
  .max(20_000)
  .refine(
    line => accepts(() => formatPublicKey(parsePublicKey(line)) === line),
    'must be one public key line without comment',
  )
const state = z.enum(['active', 'standby', 'retired'])
const sshAuthorities = z
  .array(z.strictObject({ key: sshKey, state }))
  .min(1)
  .max(16)
const url = (schemes: readonly string[]) =>
  z
    .string()
    .max(300)
    .refine(
      text => URL.canParse(text) && schemes.includes(new URL(text).protocol) && new URL(text).origin === text,
      `must be ${schemes.join(' or ')}//HOST[:PORT] with nothing after it`,
    )
const suffix = z
  .string()
  .refine(text => isHostName(text) && text.includes('.'), 'must be a DNS suffix of at least two labels')
const distinct = <T>(items: readonly T[]) => new Set(items).size === items.length

const logKey = z.string().refine(text => accepts(() => fromBase64(text).length === 32), 'must be 32 bytes in base64')

/** CVE-2024-2048: a trust anchor is a CA, and only that. */
const rootCertificate = z
  .string()
  .max(20_000)
  .refine(
    pem =>
      accepts(() => {
        const der = fromPem(pem, 'CERTIFICATE')
        return new X509Certificate(der).ca && toPem(der, 'CERTIFICATE') === pem
      }),
    'must be the PEM of a root certificate',
  )

const fields = z.strictObject({
  format: z.literal('keyman-trust-v1'),
  organisation: z.string().refine(isOrganisation, 'must be a short name: lower-case letters, digits and -'),
  version: z
    .int()
    .min(1)
    .max(2 ** 31 - 1),
  incarnation: z
    .string()
    .max(64)
    .regex(/^[A-Za-z0-9_-]+$/),
  publicUrl: url(['https:', 'http:']),
  machinesUrl: url(['https:']),
  hostSuffixes: z.array(suffix).min(1).max(100).refine(distinct, 'must not name one twice'),
  roots: z
    .strictObject({
      threshold: z.int().min(1).max(16),
      keys: z.array(sshKey).min(1).max(16).refine(distinct, 'must not name one key twice'),
    })
    .refine(roots => roots.threshold <= roots.keys.length, 'the threshold is above the number of keys'),
  ssh: z.strictObject({ userAuthorities: sshAuthorities, hostAuthorities: sshAuthorities }),
  x509: z
    .array(z.strictObject({ purpose: z.literal('machines'), certificate: rootCertificate, state }))
    .min(1)
    .max(16),
  logKey: z.strictObject({
    // C2SP signed-note: a key's name is not empty and has neither blanks nor plus signs.
    name: z
      .string()
      .max(200)
      .regex(/^[a-z0-9./:_-]+$/),
    key: logKey,
  }),
  otherLogKeys: z
    .array(logKey)
    .min(1)
    .max(MAX_LOG_KEYS - 1)
    .optional(),
})
const schema = fields.refine(({ logKey, otherLogKeys = [] }) => distinct([logKey.key, ...otherLogKeys]), {
  path: ['otherLogKeys'],
  error: 'must not name one key twice',
})

/** The text that the root keys sign: indented for people's eyes, fields in a fixed order, a line feed at the end. Throws `invalid-input` that names the field. */
export function encodeTrustDocument(bundle: TrustBundle): string {
  return spell(check(bundle))
}

/** Closed: a field too many or too few, another order or other white space is refused with `invalid-input`. */
export function parseTrustDocument(text: string): TrustBundle {
  if (text.length > MAX_DOCUMENT) throw invalid('document', `longer than ${MAX_DOCUMENT} characters`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw invalid('document', 'is not JSON')
  }
  const bundle = check(value)
  // One content, one text: so what was signed is what was read, whichever parser reads it.
  if (spell(bundle) !== text) throw invalid('document', 'is not spelled as KeyMan spells a trust document')
  return bundle
}

function check(value: unknown): TrustBundle {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  throw invalid(['document', ...(issue?.path ?? []).map(String)].join('.'), issue?.message ?? 'is not valid')
}

const spell = (b: TrustBundle): string =>
  `${JSON.stringify(
    {
      format: b.format,
      organisation: b.organisation,
      version: b.version,
      incarnation: b.incarnation,
      publicUrl: b.publicUrl,
      machinesUrl: b.machinesUrl,
      hostSuffixes: b.hostSuffixes,
      roots: { threshold: b.roots.threshold, keys: b.roots.keys },
      ssh: {
        userAuthorities: b.ssh.userAuthorities.map(({ key, state }) => ({ key, state })),
        hostAuthorities: b.ssh.hostAuthorities.map(({ key, state }) => ({ key, state })),
      },
      x509: b.x509.map(({ purpose, certificate, state }) => ({ purpose, certificate, state })),
      logKey: { name: b.logKey.name, key: b.logKey.key },
      ...(b.otherLogKeys ? { otherLogKeys: b.otherLogKeys } : {}),
    },
    null,
    2,
  )}\n`

type LogKeysOf = Pick<TrustBundle, 'logKey' | 'otherLogKeys'>

/** By which checkpoints and KRLs are believed, each 32 bytes of Ed25519: one is as good as another. */
export const logKeysOf = ({ logKey, otherLogKeys = [] }: LogKeysOf): Uint8Array[] =>
  [logKey.key, ...otherLogKeys].map(fromBase64)

/** The same as `verifyCheckpoint` asks for it. */
export const logOf = (bundle: LogKeysOf): { origin: string; logKeys: Uint8Array[] } => ({
  origin: bundle.logKey.name,
  logKeys: logKeysOf(bundle),
})

function accepts(test: () => boolean): boolean {
  try {
    return test()
  } catch {
    return false
  }
}
