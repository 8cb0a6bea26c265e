import { sign } from 'node:crypto'
import { api } from '#shared/api/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { TRUST_NAMESPACE } from '#shared/namespaces.ts'
import {
  armorSshsig,
  decodeOpensshPrivateKey,
  encodeSignature,
  encodeSshsig,
  fingerprint,
  formatPublicKey,
  parsePublicKey,
  sshsigSignedData,
  toPrivateKeyObject,
} from '#shared/ssh/index.ts'
import { told } from '#shared/told.ts'
import {
  logKeyFingerprint,
  logKeysOf,
  NAMED_CHANGES,
  parseTrustDocument,
  rootFingerprint,
  type SignedBundle,
  signaturesFor,
  type TrustBundle,
  type TrustRoots,
  unprovenRoots,
} from '#shared/trust/index.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { readGiven, writeFile } from '../../context/files.ts'
import { folders } from '../../context/folders.ts'
import { refreshSshFiles } from '../../ssh/files.ts'
import { newestOrPinned, takeIn } from '../../ssh/take-in-trust.ts'
import { type Command, command, take, usage } from '../../terminal/command.ts'
import { print, printJson, remark, shown } from '../../terminal/terminal.ts'
import { pinPublished } from '../../trust/follow-trust.ts'
import { confirmChanges, type Expected, expectedFrom, REVIEW_OPTIONS, showChanges } from '../../trust/review-bundle.ts'

const show = command({
  help: `keyman trust show: the signed trust bundle, what hosts and laptops believe
usage: keyman trust show [--document FILE --signature FILE] [--json]
       keyman trust show --next FILE [--change NAME …] [--authority-list FILE]

  --document F --signature F   write both out, so that OpenSSH checks them too (a second signature is F.2):
      ssh-keygen -Y verify -n keyman-trust -f ALLOWED_SIGNERS -I root -s F < DOCUMENT
  --json                       the document itself
  --next FILE                  what this document would change of what is pinned here, key by key: look at it
      before you sign it with ssh-keygen; --change and --authority-list as for keyman trust sign

It takes in the newest that the root of trust has signed. Where the server is not reached, it shows what is
pinned here, and says so. More: docs/trust.md`,
  options: {
    document: { type: 'string' },
    signature: { type: 'string' },
    next: { type: 'string' },
    change: REVIEW_OPTIONS.change,
    'authority-list': REVIEW_OPTIONS['authority-list'],
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    take(positionals, [])
    const context = await newestOrPinned()
    const bundle = parseTrustDocument(context.bundle.document)
    if (values.next !== undefined) {
      const differences = showChanges(bundle, readGiven(values.next, '--next'), expectedFrom(values))
      if (values.json) printJson(differences)
      return EXIT.done
    }
    if (values.document !== undefined) writeFile(values.document, context.bundle.document, 0o644)
    if (values.signature !== undefined) writeSignatures(values.signature, context.bundle.signatures)
    if (values.json) printJson(bundle)
    else {
      print(`${bundle.organisation}, version ${bundle.version}`)
      print(`  root of trust  ${context.rootFingerprint} (${bundle.roots.threshold} of ${bundle.roots.keys.length})`)
      print(`  pages          ${bundle.publicUrl}`)
      print(`  machines       ${bundle.machinesUrl}`)
      print(`  host names     ${bundle.hostSuffixes.map(suffix => `*.${suffix}`).join(', ')}`)
      for (const { key, state } of bundle.ssh.userAuthorities) print(`  user CA        ${key} (${state})`)
      for (const { key, state } of bundle.ssh.hostAuthorities) print(`  host CA        ${key} (${state})`)
      print(`  log            ${bundle.logKey.name}`)
      for (const key of logKeysOf(bundle)) print(`  log key        ${logKeyFingerprint(key)}`)
    }
    return EXIT.done
  },
})

/** `ssh-keygen -Y verify` reads one signature a file: the first is FILE, the others FILE.2, FILE.3 … */
function writeSignatures(file: string, signatures: readonly string[]): void {
  signatures.forEach((signature, i) => {
    writeFile(i === 0 ? file : `${file}.${i + 1}`, `${signature.trim()}\n`, 0o644)
  })
}

const signDocument = command({
  help: `keyman trust sign: sign the next trust bundle with a root key, and publish it
usage: keyman trust sign --root-key FILE            fetch, compare, sign, publish
       keyman trust sign --out FILE                 only fetch the document, to sign elsewhere:
                                                    ssh-keygen -Y sign -n keyman-trust -f ROOTKEY FILE
       keyman trust sign --in FILE --signature FILE.sig …   publish what was signed elsewhere

  --change NAME          a change that is meant; what was not named is not signed:
                         ${NAMED_CHANGES.join(', ')}
                         at a terminal you are asked whether the value is meant too
  --key PURPOSE=SHA256:… a key whose change is meant (else you are asked, key by key); it is for
                         root, ssh-user, ssh-host, machines or log
  --authority-list FILE  what keyman-server authority list --json printed at the keystore:
                         an authority or log key that is added has to be in it
  --json                 what was published, or the document that is to be signed
Each difference from what is pinned here is shown. A root key may be a hardware sk- key or lie
offline; each root that is added signs too. More: docs/trust.md`,
  options: {
    'root-key': { type: 'string' },
    out: { type: 'string' },
    in: { type: 'string' },
    signature: { type: 'string', multiple: true },
    ...REVIEW_OPTIONS,
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    take(positionals, [])
    const expected = expectedFrom(values)
    if (values.in !== undefined) {
      if (!values.signature) throw usage('--in wants --signature too')
      const document = readGiven(values.in, '--in')
      const signatures = values.signature.map(file => readGiven(file, '--signature').trim())
      return publish(document, () => signatures, expected, values.json)
    }
    const rootKey = values['root-key']
    if ((values.out === undefined) === (rootKey === undefined)) throw usage('one of --root-key, --out and --in')
    const { document } = await callAsPerson(api.trust.next, { body: {} })
    if (values.out !== undefined) return write(document, values.out, expected, values.json)
    return publish(document, () => [signWith(rootKey ?? '', document)], expected, values.json)
  },
})

const moveRoot = command({
  help: `keyman trust move-root: hand the root of trust to other keys
usage: keyman trust move-root --to NEW.pub [--to …] [--threshold K] (--root-key OLD | --out FILE)

  --to FILE        a new root's public key; repeatable; sk- keys too
  --threshold K    how many of them must sign (default: all)
  --root-key FILE  a root's key, today's or a new one's, where it is a file; repeatable
  --out FILE       write the document instead; today's roots and each new one sign it with
                   ssh-keygen -Y sign -n keyman-trust -f KEY FILE
                   then: keyman trust sign --in FILE --signature FILE.sig …
  --change, --key, --authority-list   for what else changes: see keyman trust sign
  --json           what was published, or the document that is to be signed
More: docs/trust.md`,
  options: {
    to: { type: 'string', multiple: true },
    threshold: { type: 'string' },
    out: { type: 'string' },
    'root-key': { type: 'string', multiple: true },
    ...REVIEW_OPTIONS,
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    take(positionals, [])
    if (!values.to) throw usage('--to names the new root keys')
    const keys = values.to.map(file => formatPublicKey(parsePublicKey(readGiven(file, '--to').trim(), `--to ${file}`)))
    const rootKeys = values['root-key']
    if ((values.out === undefined) === (rootKeys === undefined)) throw usage('either --root-key or --out')
    const threshold = values.threshold === undefined ? keys.length : Number(values.threshold)
    if (!Number.isInteger(threshold) || threshold < 1 || threshold > keys.length)
      throw usage(`--threshold is a number from 1 to ${keys.length}`)
    const given = expectedFrom(values)
    const { document } = await callAsPerson(api.trust.next, { body: { roots: { keys, threshold } } })
    // What the server made of it is not its word: these roots, and no other.
    const { roots } = parseTrustDocument(document)
    if (rootFingerprint(roots) !== rootFingerprint({ keys, threshold }))
      throw new KeymanError('denied', `the server names other roots than --to: ${rootFingerprint(roots)}`, {
        hint: 'nothing was signed',
      })
    const expected: Expected = { ...given, named: [...given.named, 'roots', 'threshold'], rootsGiven: true }
    if (values.out !== undefined) return write(document, values.out, expected, values.json)
    return publish(document, () => (rootKeys ?? []).map(file => signWith(file, document)), expected, values.json)
  },
})

/** Whoever signs it elsewhere looks at it there, too: `keyman trust show --next`. */
async function write(document: string, out: string, expected: Expected, json: boolean | undefined): Promise<number> {
  const context = await takeIn()
  showChanges(parseTrustDocument(context.bundle.document), document, expected)
  writeFile(out, document, 0o644)
  const named = expected.named.map(name => ` --change ${name}`).join('')
  remark(`Wrote ${out}. Look at it: keyman trust show --next ${out}${named}`)
  remark(`Sign it: ssh-keygen -Y sign -n ${TRUST_NAMESPACE} -f ROOTKEY ${out}`)
  remark(`Then: keyman trust sign --in ${out} --signature ${out}.sig${named}`)
  if (json) printJson({ document })
  return EXIT.done
}

/** With an Ed25519 key file without a passphrase; others are used through ssh-keygen. */
function signWith(file: string, document: string): string {
  const { seed, publicKey } = decodeOpensshPrivateKey(readGiven(file, '--root-key'), '--root-key')
  const raw = sign(null, sshsigSignedData(TRUST_NAMESPACE, utf8(document)), toPrivateKeyObject(seed))
  return armorSshsig(
    encodeSshsig({ publicKey, namespace: TRUST_NAMESPACE, signature: encodeSignature(publicKey, raw) }),
  )
}

/** `sign` is called once all that changes was shown and confirmed. */
async function publish(
  document: string,
  sign: () => string[],
  expected: Expected,
  json: boolean | undefined,
): Promise<number> {
  const context = await takeIn()
  const before = parseTrustDocument(context.bundle.document)
  await confirmChanges(showChanges(before, document, expected), expected)
  const signed = { document, signatures: sign() }
  refuseUnsigned(signed, before)
  const published = await callAsPerson(api.trust.publish, { body: signed })
  if (json) printJson(published)
  else remark(`Published version ${published.version}. Hosts have it as they confirm: keyman host list`)
  // From here and not from the server: one that hides it would be handed another of the same version.
  try {
    const places = folders()
    await pinPublished(places, context, signed)
    refreshSshFiles(places)
  } catch (error) {
    // It is published all the same.
    remark(`It is not pinned here yet (${shown(told(error).message)}): keyman trust show`)
  }
  return EXIT.done
}

/** The server refuses it as well; but whoever signs wants to know which of their keys have not signed yet. */
function refuseUnsigned(signed: SignedBundle, before: TrustBundle): void {
  const next = parseTrustDocument(signed.document)
  const moves = rootFingerprint(before.roots) !== rootFingerprint(next.roots)
  const missing = [
    ...missingOf(signed, before.roots, moves ? "today's root of trust" : 'the root of trust'),
    ...(moves ? missingOf(signed, next.roots, 'the new root of trust') : []),
  ]
  if (missing.length > 0)
    throw usage(
      `too few signatures: ${missing.join('; and ')}`,
      `have it signed by them: ssh-keygen -Y sign -n ${TRUST_NAMESPACE} -f KEY FILE, then give every signature with --signature`,
    )
  const unproven = unprovenRoots(before, signed)
  if (unproven.length > 0)
    throw usage(
      `a root that is added has not signed: ${unproven.join(', ')}`,
      'each new root proves by a signature of its own that somebody has its key, whatever the threshold is',
    )
}

function missingOf(signed: SignedBundle, roots: TrustRoots, whose: string): string[] {
  const unsigned = roots.keys.filter(key => signaturesFor(signed, { threshold: 1, keys: [key] }) === 0)
  const missing = roots.threshold - (roots.keys.length - unsigned.length)
  if (missing <= 0) return []
  const names = unsigned.map(key => fingerprint(parsePublicKey(key, 'roots'))).join(', ')
  return [`${whose} needs ${roots.threshold}, and ${missing} more of ${names}`]
}

export const commands: Record<string, Command> = { show, sign: signDocument, 'move-root': moveRoot }
