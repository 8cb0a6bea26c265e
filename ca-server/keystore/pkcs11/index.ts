import { createHealthProbe } from '../health.ts'
import {
  checkLabel,
  checkNewKey,
  checkText,
  HEALTH_LABEL,
  type KeyAlgorithm,
  type Keystore,
  type KeystoreConfig,
  type KeystoreKey,
  noSuchKey,
  threadCount,
  unavailable,
} from '../port.ts'
import { splitSealed } from '../sealed.ts'
import { checkIsMeant, verified } from '../signature.ts'
import { ckrOf, type Handle, loadCryptoki, onThread } from './binding.ts'
import { CKR } from './constants.ts'
import { decrypt, encrypt } from './gcm.ts'
import { probe, SCHEMES } from './mechanisms.ts'
import { findMasterKey, findSigningKey, generateMasterKey, generateSigningKey, listLabels } from './objects.ts'
import { createSignBatches } from './sign-batches.ts'
import { createSignThreads } from './sign-threads.ts'
import { openToken, type Token } from './token.ts'

/** Keys in an HSM or another PKCS#11 token (OASIS PKCS#11 v2.40 and v3.1). Keys are made there and never leave. */
export async function openPkcs11Keystore(config: Extract<KeystoreConfig, { kind: 'pkcs11' }>): Promise<Keystore> {
  const { module, token: name, pin, libraryParameters } = config
  const sessions = config.sessions ?? threadCount()
  const given = libraryParameters === undefined ? {} : { libraryParameters }
  const token = await openToken({ module, token: name, pin, sessions, ...given })
  const opened = await token
    .use('probing the token', async session => ({
      probed: probe(token.cryptoki, token.slot),
      shared: await isSharedByBindings(module, session),
    }))
    .catch(async error => {
      await token.close()
      throw error
    })
  // Without a number of sessions the module is taken for one that works in this process, where threads of ours sign best. An
  // HSM that is far away wants many signatures under way at once, which only wait: those are libuv's.
  const threads = config.sessions === undefined && opened.shared ? createSignThreads(module) : undefined
  const probed = opened.shared ? opened.probed : { ...opened.probed, cannot: [...opened.probed.cannot, NOT_SHARED] }
  const handles = createHandleCache(token)
  const makeOneAtATime = createQueue()

  const findKey = async (label: string, session: Handle) => {
    const key = handles.signing.get(label)
    if (key) return key
    const found = findSigningKey(token.cryptoki, session, checkLabel(label))
    if (!found) throw noSuchKey(label)
    handles.signing.set(label, found)
    return found
  }

  const batches = threads && createSignBatches(token, threads, findKey)
  const signAlone: Keystore['sign'] = (label, data, spki) =>
    token.use(`signing with ${label}`, async session => {
      checkText(data)
      const known = handles.signing.get(label) ?? (await findKey(label, session))
      checkIsMeant(known.key, spki)
      const scheme = SCHEMES[known.key.algorithm]
      const input = scheme.input(data)
      token.cryptoki.C_SignInit(session, scheme.sign, known.handle)
      const output = Buffer.alloc(scheme.signatureBytes)
      const signature = await onThread(input, done => token.cryptoki.C_Sign(session, input, output, done))
      return verified(known.key, data, signature)
    })
  const sign = batches?.sign ?? signAlone

  const generate = (label: string, algorithm: KeyAlgorithm): Promise<KeystoreKey> =>
    makeOneAtATime(async () => {
      const made = await token.useReadWrite(`making the key ${label}`, session =>
        generateSigningKey(token.cryptoki, session, label, algorithm),
      )
      return made.key
    })

  async function withMasterKey<Result>(
    label: string,
    create: boolean,
    work: (session: Handle, key: Handle) => Promise<Result>,
  ): Promise<Result> {
    checkLabel(label)
    if (!probed.wrapsDataKeys) throw unavailable('this token wraps no data keys: it has no AES-GCM')
    const use = () =>
      token.use(`using the master key ${label}`, async session => {
        const key = handles.master.get(label) ?? findMasterKey(token.cryptoki, session, label)
        if (!key) return undefined
        handles.master.set(label, key)
        return { result: await work(session, key) }
      })
    let used = await use()
    if (!used && create) {
      await makeOneAtATime(() =>
        token.useReadWrite(`making the master key ${label}`, session =>
          generateMasterKey(token.cryptoki, session, label),
        ),
      )
      used = await use()
    }
    if (!used) throw noSuchKey(label)
    return used.result
  }

  async function ensureHealthKey(): Promise<KeystoreKey> {
    const known = handles.signing.get(HEALTH_LABEL)
    if (known) return known.key
    const algorithm = probed.algorithms[0]
    if (algorithm === undefined) throw unavailable('the token offers no algorithm that KeyMan signs with')
    const find = (session: Handle) => findSigningKey(token.cryptoki, session, HEALTH_LABEL)
    const found = await token.use('looking for the key health', async session => find(session))
    if (found) return found.key
    // Another server may make it at the same moment: then its key is there now.
    return generate(HEALTH_LABEL, algorithm).catch(async error => {
      const theirs = await token.use('looking for the key health', async session => find(session))
      if (theirs) return theirs.key
      throw error
    })
  }

  return {
    kind: 'pkcs11',
    capabilities: probed,
    async generateKey(label, algorithm) {
      checkNewKey(label, algorithm, probed.algorithms)
      return generate(label, algorithm)
    },
    listKeys: () =>
      token.use('listing keys', async session => {
        const labels = listLabels(token.cryptoki, session).filter(label => label !== HEALTH_LABEL)
        return Promise.all(labels.map(async label => (await findKey(label, session)).key))
      }),
    sign,
    wrapDataKey: (masterLabel, dataKey, associatedData) =>
      withMasterKey(masterLabel, true, (session, key) =>
        encrypt(token.cryptoki, session, key, dataKey, associatedData),
      ),
    async unwrapDataKey(masterLabel, wrapped, associatedData) {
      splitSealed(wrapped) // before the token is asked
      return withMasterKey(masterLabel, false, (session, key) =>
        decrypt(token.cryptoki, session, key, wrapped, associatedData),
      )
    },
    health: createHealthProbe(ensureHealthKey, ({ label, spki }, data) => sign(label, data, spki)),
    async close() {
      await token.close()
      await threads?.close()
    },
  }
}

const NOT_SHARED =
  "the PKCS#11 module keeps a state for each of its callers, as p11-kit's proxy does: signing takes more of this machine than with the vendor's module itself as keystore.module"

/**
 * Whether a second binding in this process, as each signing thread has one, knows the sessions of the first. p11-kit's proxy
 * keeps them apart: to it the second is another caller, who has not called C_Initialize.
 */
async function isSharedByBindings(module: string, session: Handle): Promise<boolean> {
  const second = await loadCryptoki(module)
  try {
    second.C_GetSessionInfo(session)
    return true
  } catch (error) {
    const code = ckrOf(error)
    return code !== CKR.CRYPTOKI_NOT_INITIALIZED && code !== CKR.SESSION_HANDLE_INVALID
  }
}

/** Object handles, forgotten whenever the module was initialized anew. */
function createHandleCache(token: Token) {
  let generation = token.generation
  const signing = new Map<string, NonNullable<ReturnType<typeof findSigningKey>>>()
  const master = new Map<string, Handle>()
  const fresh = <Value>(map: Map<string, Value>): Map<string, Value> => {
    if (generation !== token.generation) {
      generation = token.generation
      signing.clear()
      master.clear()
    }
    return map
  }
  return {
    get signing() {
      return fresh(signing)
    },
    get master() {
      return fresh(master)
    },
  }
}

/** One after the other: two searches for a free label at the same moment would both find it free. */
function createQueue() {
  let last: Promise<unknown> = Promise.resolve()
  return <Result>(work: () => Promise<Result>): Promise<Result> => {
    const next = last.then(work)
    last = next.catch(() => undefined)
    return next
  }
}
