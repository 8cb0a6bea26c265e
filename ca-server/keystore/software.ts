import { type KeyObject, sign as nodeSign } from 'node:crypto'
import { createHealthProbe } from './health.ts'
import { createPool } from './pool.ts'
import {
  checkLabel,
  checkNewKey,
  checkText,
  HEALTH_LABEL,
  KEY_ALGORITHMS,
  type Keystore,
  type KeystoreConfig,
  labelTaken,
  noSuchKey,
  threadCount,
  unavailable,
} from './port.ts'
import { preparePrivateFolder } from './private-files.ts'
import { seal, unseal } from './sealed.ts'
import { checkIsMeant, HASH, verified } from './signature.ts'
import { createSigningKey, loadMasterKey, loadSigningKey, readLabels, type SigningKey } from './software-keys.ts'
import { unlockKey } from './unlock.ts'

/** Keys in files, sealed at rest, in this process's memory while it runs. For the demo, tests and small set-ups. */
export async function openSoftwareKeystore(config: Extract<KeystoreConfig, { kind: 'software' }>): Promise<Keystore> {
  const { folder } = config
  await preparePrivateFolder(folder)
  const wrapping = await unlockKey(folder, config.unlock, (await readLabels(folder)).any)
  // As many lanes as libuv has threads: more would only make file system calls wait behind signatures.
  const pool = createPool(Array.from({ length: threadCount() }, (_, lane) => lane))
  const signingKeys = new Map<string, SigningKey>()
  const masterKeys = new Map<string, KeyObject>()
  let closed = false

  const refuseClosed = () => {
    if (closed) throw unavailable('the keystore is closed')
  }

  async function findSigningKey(label: string): Promise<SigningKey> {
    refuseClosed()
    const found = signingKeys.get(label) ?? (await loadSigningKey(folder, wrapping, checkLabel(label)))
    if (!found) throw noSuchKey(label)
    signingKeys.set(label, found)
    return found
  }

  async function findMasterKey(label: string, create: boolean): Promise<KeyObject> {
    refuseClosed()
    const found = masterKeys.get(label) ?? (await loadMasterKey(folder, wrapping, checkLabel(label), create))
    if (!found) throw noSuchKey(label)
    masterKeys.set(label, found)
    return found
  }

  const sign: Keystore['sign'] = async (label, data, spki) => {
    checkText(data)
    const { key, privateKey } = signingKeys.get(label) ?? (await findSigningKey(label))
    refuseClosed()
    checkIsMeant(key, spki)
    return pool.run(async () => {
      const signature = await new Promise<Uint8Array>((resolve, reject) => {
        // With a callback Node signs on a thread of libuv.
        nodeSign(HASH[key.algorithm], data, { key: privateKey, dsaEncoding: 'ieee-p1363' }, (error, signature) =>
          error ? reject(unavailable('signing failed', { cause: error })) : resolve(new Uint8Array(signature)),
        )
      })
      return verified(key, data, signature)
    })
  }

  async function ensureHealthKey() {
    const there = signingKeys.has(HEALTH_LABEL) || (await readLabels(folder)).signing.includes(HEALTH_LABEL)
    if (!there) await createSigningKey(folder, wrapping, HEALTH_LABEL, 'ed25519')
    return (await findSigningKey(HEALTH_LABEL)).key
  }

  return {
    kind: 'software',
    capabilities: {
      algorithms: KEY_ALGORITHMS,
      wrapsDataKeys: true,
      cannot: ['a software keystore does not keep its keys from whoever takes over the server: they are in its memory'],
    },
    async generateKey(label, algorithm) {
      refuseClosed()
      checkNewKey(label, algorithm, KEY_ALGORITHMS)
      const made = await createSigningKey(folder, wrapping, label, algorithm)
      if (!made) throw labelTaken(label)
      signingKeys.set(label, made)
      return made.key
    },
    async listKeys() {
      refuseClosed()
      const { signing } = await readLabels(folder)
      const keys = await Promise.all(signing.filter(label => label !== HEALTH_LABEL).map(findSigningKey))
      return keys.map(({ key }) => key)
    },
    sign,
    async wrapDataKey(masterLabel, dataKey, associatedData) {
      return seal(await findMasterKey(masterLabel, true), dataKey, associatedData)
    },
    async unwrapDataKey(masterLabel, wrapped, associatedData) {
      return unseal(await findMasterKey(masterLabel, false), wrapped, associatedData)
    },
    health: createHealthProbe(ensureHealthKey, ({ label, spki }, data) => sign(label, data, spki)),
    async close() {
      if (closed) return
      closed = true
      pool.refuseWaiting(unavailable('the keystore is closed'))
      await pool.drain()
      signingKeys.clear()
      masterKeys.clear()
    },
  }
}
