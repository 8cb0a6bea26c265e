import { sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { administration, api } from '#shared/api/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { EXIT } from '#shared/exit-codes.ts'
import {
  armorSshsig,
  decodeOpensshPrivateKey,
  encodeSignature,
  encodeSshsig,
  sshsigSignedData,
  toPrivateKeyObject,
} from '#shared/ssh/index.ts'
import { parseTrustDocument, TRUST_NAMESPACE } from '#shared/trust/index.ts'
import { type Command, command, take, usage } from '../command.ts'
import { requireSession } from '../context.ts'
import { writeFile } from '../files.ts'
import { folders } from '../folders.ts'
import { callAsPerson } from '../session-call.ts'
import { print, printJson, remark } from '../terminal.ts'

const show = command({
  help: `keyman trust show: the signed trust bundle, what hosts and laptops believe
usage: keyman trust show [--document FILE --signature FILE] [--json]

  --document F --signature F   write both out, so that OpenSSH checks it:
     ssh-keygen -Y verify -n keyman-trust -f ALLOWED_SIGNERS -I root -s F.sig < F`,
  options: { document: { type: 'string' }, signature: { type: 'string' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const { context } = requireSession(folders(), new Date())
    const bundle = parseTrustDocument(context.bundle.document)
    if (values.document !== undefined) writeFile(values.document, context.bundle.document, 0o644)
    if (values.signature !== undefined) writeFile(values.signature, context.bundle.signatures.join('\n'), 0o644)
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
    }
    return EXIT.done
  },
})

const signDocument = command({
  help: `keyman trust sign: sign the next trust bundle with a root key, and publish it
usage: keyman trust sign --root-key FILE            fetch, sign, publish
       keyman trust sign --out FILE                 only fetch the document, to sign elsewhere:
                                                    ssh-keygen -Y sign -n keyman-trust -f ROOTKEY FILE
       keyman trust sign --in FILE --signature FILE.sig …   publish what was signed elsewhere

A root key may be a hardware sk- key or lie offline. More: docs/trust.md`,
  options: {
    'root-key': { type: 'string' },
    out: { type: 'string' },
    in: { type: 'string' },
    signature: { type: 'string', multiple: true },
  },
  async run(values, positionals) {
    take(positionals, [])
    if (values.in !== undefined) {
      if (!values.signature) throw usage('--in wants --signature too')
      return publish(
        readFileSync(values.in, 'utf8'),
        values.signature.map(file => readFileSync(file, 'utf8').trim()),
      )
    }
    const { document } = await callAsPerson(api.trust.next, { body: {} })
    return signOrWrite(document, values['root-key'], values.out)
  },
})

const moveRoot = command({
  help: `keyman trust move-root: hand the root of trust to other keys
usage: keyman trust move-root --to NEW.pub [--to …] [--threshold K] (--root-key OLD | --out FILE)

  --to FILE        a new root's public key; repeatable; sk- keys too
  --threshold K    how many of them must sign (default: all)
  --root-key FILE  today's root, where it is a file
  --out FILE       write the document instead; old and new roots sign it with
                   ssh-keygen -Y sign -n keyman-trust -f KEY FILE
                   then: keyman trust sign --in FILE --signature FILE.sig …
More: docs/trust.md`,
  options: {
    to: { type: 'string', multiple: true },
    threshold: { type: 'string' },
    out: { type: 'string' },
    'root-key': { type: 'string', multiple: true },
  },
  async run(values, positionals) {
    take(positionals, [])
    if (!values.to) throw usage('--to names the new root keys')
    const keys = values.to.map(file => readFileSync(file, 'utf8').trim())
    const roots = administration.trust.next.body?.parse({
      roots: { keys, threshold: Number(values.threshold ?? keys.length) },
    })
    const { document } = await callAsPerson(api.trust.next, { body: roots ?? {} })
    if (values.out === undefined && !values['root-key']) throw usage('either --root-key or --out')
    if (values.out !== undefined) return signOrWrite(document, undefined, values.out)
    return publish(
      document,
      (values['root-key'] ?? []).map(file => signWith(file, document)),
    )
  },
})

function signOrWrite(document: string, rootKey: string | undefined, out: string | undefined): Promise<number> {
  if (rootKey !== undefined) return publish(document, [signWith(rootKey, document)])
  if (out === undefined) throw usage('either --root-key or --out')
  writeFile(out, document, 0o644)
  remark(`Wrote ${out}. Sign it: ssh-keygen -Y sign -n ${TRUST_NAMESPACE} -f ROOTKEY ${out}`)
  remark(`Then: keyman trust sign --in ${out} --signature ${out}.sig`)
  return Promise.resolve(EXIT.done)
}

/** With an Ed25519 key file without a passphrase; others are used through ssh-keygen. */
function signWith(file: string, document: string): string {
  const { seed, publicKey } = decodeOpensshPrivateKey(readFileSync(file, 'utf8'))
  const raw = sign(null, sshsigSignedData(TRUST_NAMESPACE, utf8(document)), toPrivateKeyObject(seed))
  return armorSshsig(
    encodeSshsig({ publicKey, namespace: TRUST_NAMESPACE, signature: encodeSignature(publicKey, raw) }),
  )
}

async function publish(document: string, signatures: string[]): Promise<number> {
  const { version } = await callAsPerson(api.trust.publish, { body: { document, signatures } })
  remark(`Published version ${version}. Hosts have it as they confirm: keyman host list`)
  return EXIT.done
}

export const commands: Record<string, Command> = { show, sign: signDocument, 'move-root': moveRoot }
