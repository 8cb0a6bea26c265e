import { createHash } from 'node:crypto'
import { equalBytes, fromUtf8 } from '#shared/bytes.ts'
import type { KeyAlgorithm, KeystoreKey } from '../port.ts'
import { labelTaken, unavailable } from '../port.ts'
import { type Cryptoki, ckrOf, type Handle, type Mechanism, type Template } from './binding.ts'
import { CKA, CKK, CKM, CKO, CKR } from './constants.ts'
import { SCHEMES } from './mechanisms.ts'
import { readPublicKey } from './public-key.ts'

/** Key objects on a token: found by CKA_ID alone, because handles die with the session's module. Runs in one session. */
export type SigningKey = { readonly key: KeystoreKey; readonly handle: Handle }

/** CKA_ID of a label: the first 20 bytes of SHA-256 over it. */
export const idOf = (label: string): Buffer => createHash('sha256').update(label).digest().subarray(0, 20)

/** All handles that fit; the search is always ended, or the session would be stuck in it. */
function find(cryptoki: Cryptoki, session: Handle, template: Template): Handle[] {
  cryptoki.C_FindObjectsInit(session, template)
  const handles: Handle[] = []
  try {
    for (;;) {
      const more = cryptoki.C_FindObjects(session, 100)
      handles.push(...more)
      if (more.length === 0) return handles
    }
  } finally {
    cryptoki.C_FindObjectsFinal(session)
  }
}

const named = (objectClass: number, label: string): Template => [
  { type: CKA.CLASS, value: objectClass },
  { type: CKA.TOKEN, value: true },
  { type: CKA.ID, value: idOf(label) },
]

/** The one object of this class and label. Modules allow two with one CKA_ID: then none is used. */
function findOne(cryptoki: Cryptoki, session: Handle, objectClass: number, label: string): Handle | undefined {
  const [handle, second] = find(cryptoki, session, named(objectClass, label))
  if (second === undefined) return handle
  throw unavailable(`the token has more than one key ${label}: none of them is used`, {
    hint: 'look at them with pkcs11-tool --list-objects and remove the wrong one',
  })
}

function attribute(cryptoki: Cryptoki, session: Handle, object: Handle, type: number): Uint8Array {
  const [result] = cryptoki.C_GetAttributeValue(session, object, [{ type }])
  if (!result) throw unavailable(`the token gave no attribute 0x${type.toString(16)}`)
  return new Uint8Array(result.value)
}

const isTrue = (value: Uint8Array): boolean => value.some(byte => byte !== 0)
/** CK_ULONG, in the machine's byte order; all platforms of ours are little-endian. */
const toNumber = (value: Uint8Array): number => value.reduceRight((sum, byte) => sum * 256 + byte, 0)

/** A key that could leave the token is not one of ours, whatever its label says (it was imported or made by hand). */
function refuseExtractable(cryptoki: Cryptoki, session: Handle, handle: Handle, label: string): void {
  const is = (type: number) => isTrue(attribute(cryptoki, session, handle, type))
  if (is(CKA.EXTRACTABLE) || !is(CKA.SENSITIVE)) {
    throw unavailable(`the key ${label} could be taken out of the token and is not used`)
  }
}

/** `undefined` if there is none. */
export function findSigningKey(cryptoki: Cryptoki, session: Handle, label: string): SigningKey | undefined {
  const handle = findOne(cryptoki, session, CKO.PRIVATE_KEY, label)
  if (!handle) return undefined
  refuseExtractable(cryptoki, session, handle, label)
  const publicHandle = findOne(cryptoki, session, CKO.PUBLIC_KEY, label)
  if (!publicHandle) throw unavailable(`the token has lost the public key of ${label}`)
  const read = (type: number) => attribute(cryptoki, session, publicHandle, type)
  const keyType = toNumber(read(CKA.KEY_TYPE))
  const found =
    keyType === CKK.RSA
      ? readPublicKey({ keyType, modulus: read(CKA.MODULUS), exponent: read(CKA.PUBLIC_EXPONENT) })
      : keyType === CKK.EC || keyType === CKK.EC_EDWARDS
        ? readPublicKey({ keyType, params: read(CKA.EC_PARAMS), point: read(CKA.EC_POINT) })
        : undefined
  if (!found) throw unavailable(`the key ${label} is of an algorithm that KeyMan does not use`)
  return { key: { label, ...found }, handle }
}

/** Labels of the private keys that are ours: those whose CKA_ID belongs to their CKA_LABEL. A token may hold others'. */
export function listLabels(cryptoki: Cryptoki, session: Handle): string[] {
  const handles = find(cryptoki, session, [
    { type: CKA.CLASS, value: CKO.PRIVATE_KEY },
    { type: CKA.TOKEN, value: true },
  ])
  const labels = handles.flatMap(handle => {
    const label = attribute(cryptoki, session, handle, CKA.LABEL)
    const id = attribute(cryptoki, session, handle, CKA.ID)
    try {
      return equalBytes(id, idOf(fromUtf8(label))) ? [fromUtf8(label)] : []
    } catch {
      return [] // not UTF-8, so not ours
    }
  })
  return [...new Set(labels)].sort()
}

/** Bound to the token, used for one thing, never to be read or changed. */
const guarded = (label: string): Template => [
  { type: CKA.TOKEN, value: true },
  { type: CKA.PRIVATE, value: true },
  { type: CKA.LABEL, value: label },
  { type: CKA.ID, value: idOf(label) },
  { type: CKA.SENSITIVE, value: true },
  { type: CKA.EXTRACTABLE, value: false },
  { type: CKA.MODIFIABLE, value: false },
]

/** Needs a read-write session. Throws `conflict` if the label is taken, also if another process took it meanwhile. */
export async function generateSigningKey(
  cryptoki: Cryptoki,
  session: Handle,
  label: string,
  algorithm: KeyAlgorithm,
): Promise<SigningKey> {
  if (findOne(cryptoki, session, CKO.PRIVATE_KEY, label)) throw labelTaken(label)
  const scheme = SCHEMES[algorithm]
  const kinds: readonly Template[] =
    scheme.keyType === CKK.RSA
      ? [
          [
            { type: CKA.MODULUS_BITS, value: scheme.bits },
            { type: CKA.PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
          ],
        ]
      : scheme.ecParams.map(params => [{ type: CKA.EC_PARAMS, value: Buffer.from(params) }])
  const pair = await firstAccepted(kinds, kind => generatePair(cryptoki, session, label, scheme.generate, kind))
  const same = find(cryptoki, session, named(CKO.PRIVATE_KEY, label))
  if (same.length > 1) {
    cryptoki.C_DestroyObject(session, pair.privateKey)
    cryptoki.C_DestroyObject(session, pair.publicKey)
    throw labelTaken(label)
  }
  const made = findSigningKey(cryptoki, session, label)
  if (made?.key.algorithm !== algorithm)
    throw unavailable(`the token made another key than the ${algorithm} key ${label}`)
  return made
}

async function generatePair(cryptoki: Cryptoki, session: Handle, label: string, generate: Mechanism, kind: Template) {
  const publicTemplate: Template = [
    { type: CKA.TOKEN, value: true },
    { type: CKA.LABEL, value: label },
    { type: CKA.ID, value: idOf(label) },
    { type: CKA.VERIFY, value: true },
    { type: CKA.MODIFIABLE, value: false },
    ...kind,
  ]
  // Only what each key type has: some modules refuse CKA_DECRYPT on a curve's key.
  const unused = generate.mechanism === CKM.RSA_PKCS_KEY_PAIR_GEN ? [CKA.DECRYPT, CKA.UNWRAP] : [CKA.DERIVE]
  const privateTemplate: Template = [
    ...guarded(label),
    { type: CKA.SIGN, value: true },
    ...unused.map(type => ({ type, value: false })),
  ]
  return cryptoki.C_GenerateKeyPairAsync(session, generate, publicTemplate, privateTemplate)
}

/** The next way of writing the parameters where the module does not know this one. */
async function firstAccepted<Way, Result>(
  ways: readonly Way[],
  attempt: (way: Way) => Promise<Result>,
): Promise<Result> {
  let last: unknown
  for (const way of ways) {
    try {
      return await attempt(way)
    } catch (error) {
      if (!REFUSED_PARAMETERS.has(ckrOf(error) ?? -1)) throw error
      last = error
    }
  }
  throw last
}
// CKR_ATTRIBUTE_VALUE_INVALID, CKR_DOMAIN_PARAMS_INVALID, CKR_CURVE_NOT_SUPPORTED, and what SoftHSM says instead.
const REFUSED_PARAMETERS: ReadonlySet<number> = new Set([CKR.ATTRIBUTE_VALUE_INVALID, 0x130, 0x140, CKR.GENERAL_ERROR])

export function findMasterKey(cryptoki: Cryptoki, session: Handle, label: string): Handle | undefined {
  const handle = findOne(cryptoki, session, CKO.SECRET_KEY, label)
  if (handle) refuseExtractable(cryptoki, session, handle, label)
  return handle
}

/** Needs a read-write session. Where another process made it meanwhile, its key counts and ours is removed. */
export async function generateMasterKey(cryptoki: Cryptoki, session: Handle, label: string): Promise<void> {
  if (findMasterKey(cryptoki, session, label)) return
  const template: Template = [
    ...guarded(label),
    { type: CKA.CLASS, value: CKO.SECRET_KEY },
    { type: CKA.KEY_TYPE, value: CKK.AES },
    { type: CKA.VALUE_LEN, value: 32 },
    { type: CKA.ENCRYPT, value: true },
    { type: CKA.DECRYPT, value: true },
    { type: CKA.WRAP, value: false },
    { type: CKA.UNWRAP, value: false },
    { type: CKA.SIGN, value: false },
    { type: CKA.VERIFY, value: false },
    { type: CKA.DERIVE, value: false },
  ]
  const made = await cryptoki.C_GenerateKeyAsync(session, { mechanism: CKM.AES_KEY_GEN }, template)
  if (find(cryptoki, session, named(CKO.SECRET_KEY, label)).length === 1) return
  cryptoki.C_DestroyObject(session, made)
  throw unavailable(`two servers made the master key ${label} at the same moment`, { retryAfter: 1 })
}
