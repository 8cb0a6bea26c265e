import { toBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { ensureAuthorityKeys } from './first-keys.ts'
import { KeyRing } from './keys.ts'
import { issueHostClientCertificate, issuePersonClientCertificate } from './machines/issue-client-certificate.ts'
import { keepServerCertificate } from './machines/server-certificate.ts'
import type { Authority, AuthorityDeps } from './port.ts'
import { selectKeys } from './records.ts'
import { revokedKeyId } from './revocation/facts.ts'
import { krlOf } from './revocation/krl.ts'
import { pruneKrl } from './revocation/prune-krl.ts'
import { selectRevocation } from './revocation/records.ts'
import { revocationInWords, revoke, revokeHostIn, revokePersonIn, revokeSessionsIn } from './revocation/revoke.ts'
import { serialsOf } from './serials.ts'
import { createSigner } from './sign.ts'
import { issueHostCertificate } from './ssh/issue-host-certificate.ts'
import { issueUserCertificate } from './ssh/issue-user-certificate.ts'

const PRUNE_EVERY = 3_600_000

/** Opens the authorities; at the very first start it makes their keys. */
export async function createAuthority(deps: AuthorityDeps): Promise<Authority> {
  const { store, random } = deps
  const signer = createSigner(deps.keystore, deps.ledger)
  const newRequestId = () => `req_${toBase64Url(random(12))}`
  let ring = await ensureAuthorityKeys({ ...deps, signer, newRequestId })
  const keys = () => ring
  let machineRoots = ring.machines.map(key => key.root)
  const reloadKeys = async () => {
    ring = new KeyRing(await selectKeys(store))
    machineRoots = ring.machines.map(key => key.root)
  }

  const onError = deps.onError ?? (() => {})
  const inBackground = (work: () => Promise<unknown>) => void work().catch(onError)

  const common = {
    ...deps,
    keys,
    signer,
    newRequestId,
    isKeyRevoked: (print: string) => deps.ledger.facts.has(revokedKeyId(print)),
  }
  const forUsers = { ...common, serials: serialsOf(store, ring.active('ssh-user').label) }
  const forHosts = { ...common, serials: serialsOf(store, ring.active('ssh-host').label) }
  const krl = krlOf({ ...common, reloadKeys })

  const prune = () => pruneKrl({ ...common, alarm: message => onError(new KeymanError('unavailable', message)) })

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

    words: (on, target) => revocationInWords(common, on, target),
    revoke: (target, reason, by) => revoke(common, target, reason, by),
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
      const timer = setInterval(() => inBackground(prune), PRUNE_EVERY)
      timer.unref()
      stops.push(() => clearInterval(timer))
    },
    async stop() {
      for (const stop of stops.splice(0)) await stop()
    },
  }
}
