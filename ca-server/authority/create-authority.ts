import { insist } from '#server/store/index.ts'
import { toBase64Url } from '#shared/bytes.ts'
import { ensureAuthorityKeys } from './first-keys.ts'
import { KeyRing } from './keys.ts'
import { issueHostClientCertificate, issuePersonClientCertificate } from './machines/issue-client-certificate.ts'
import { keepServerCertificate } from './machines/server-certificate.ts'
import type { Authority, AuthorityDeps } from './port.ts'
import { selectKeys } from './records.ts'
import { krlOf } from './revocation/krl.ts'
import { deleteEnded, raiseKrlVersion, selectRevocation, selectRevokedKeys } from './revocation/records.ts'
import { revoke, revokeHostIn, revokePersonIn, revokeSessionsIn } from './revocation/revoke.ts'
import { serialsOf } from './serials.ts'
import { createSigner } from './sign.ts'
import { issueHostCertificate } from './ssh/issue-host-certificate.ts'
import { issueUserCertificate } from './ssh/issue-user-certificate.ts'

const PRUNE_EVERY = 3_600_000
/** Seconds. A host whose clock is behind takes a certificate for good after its end: it stays on the list for a day more. */
const KEPT_AFTER_END = 86_400

/** Opens the authorities; at the very first start it makes their keys. */
export async function createAuthority(deps: AuthorityDeps): Promise<Authority> {
  const { store, now, random } = deps
  const signer = createSigner(deps.keystore, deps.ledger)
  const newRequestId = () => `req_${toBase64Url(random(12))}`
  let ring = await ensureAuthorityKeys({ ...deps, signer, newRequestId })
  const keys = () => ring
  let machineRoots = ring.machines.map(key => key.root)
  const reloadKeys = async () => {
    ring = new KeyRing(await selectKeys(store))
    machineRoots = ring.machines.map(key => key.root)
  }

  let revokedKeys: ReadonlySet<string> = new Set()
  const readRevokedKeys = async () => {
    revokedKeys = await selectRevokedKeys(store)
  }
  const onError = deps.onError ?? (() => {})
  const inBackground = (work: () => Promise<unknown>) => void work().catch(onError)
  await readRevokedKeys()

  const common = { ...deps, keys, signer, newRequestId, isKeyRevoked: (print: string) => revokedKeys.has(print) }
  const forUsers = { ...common, serials: serialsOf(store, ring.active('ssh-user').label) }
  const forHosts = { ...common, serials: serialsOf(store, ring.active('ssh-host').label) }
  const krl = krlOf({ ...common, reloadKeys })

  /** A KRL holds only what may be taken for good somewhere; taking something out is a new version, too. */
  const prune = () =>
    store.transaction({ name: 'prune the KRL', deadlineMs: 30_000 }, async t => {
      if ((await deleteEnded(t, BigInt(Math.floor(now().getTime() / 1000) - KEPT_AFTER_END))) === 0) return
      const version = await raiseKrlVersion(t, now().toISOString())
      await t.execute(`select pg_notify('revocations', $1)`, [version.toString()])
    })

  const stops: (() => void | Promise<void>)[] = []
  return {
    ready: signer.ready,
    issueUserCertificate: (caller, request) => issueUserCertificate(forUsers, caller, request),
    issueHostCertificate: (caller, request) => issueHostCertificate(forHosts, caller, request),
    issuePersonClientCertificate: (caller, origin) => issuePersonClientCertificate(common, caller, origin),
    issueHostClientCertificate: parts => issueHostClientCertificate(common, parts),
    async serverCertificate(names, onRenewed) {
      const { first, stop } = await keepServerCertificate(common, names, onRenewed)
      stops.push(stop)
      return first
    },

    async revoke(target, reason, by) {
      const revocation = await revoke(common, target, reason, by)
      await readRevokedKeys()
      return revocation
    },
    revokePersonIn: (t, person, by) => revokePersonIn(common, t, person, by),
    revokeSessionsIn: (t, sessions, by) => revokeSessionsIn(common, t, sessions, by),
    revokeHostIn: (t, host, by) => revokeHostIn(common, t, host, by),
    async findRevocation(id) {
      const row = await selectRevocation(store, id)
      return row && { ...row, revoked: row.certificates }
    },
    currentKrl: () => krl.current(),
    trusted: () => ring.trusted,
    machineRoots: () => machineRoots,

    async start() {
      const hearing = insist(readRevokedKeys, onError)
      stops.push(await store.listen('revocations', hearing.run), hearing.stop)
      await readRevokedKeys()
      await prune()
      const timer = setInterval(() => inBackground(prune), PRUNE_EVERY)
      timer.unref()
      stops.push(() => clearInterval(timer))
    },
    async stop() {
      for (const stop of stops.splice(0)) await stop()
    },
  }
}
