import { krlVersions, revokedKeyId } from '#shared/audit/index.ts'
import { toBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { ensureAuthorityKeys } from './first-keys.ts'
import { KeyRing } from './keys.ts'
import { refuseMissing, sortKeys } from './known-keys.ts'
import { issueHostClientCertificate, issuePersonClientCertificate } from './machines/issue-client-certificate.ts'
import { keepServerCertificate } from './machines/server-certificate.ts'
import type { Authority, AuthorityDeps } from './port.ts'
import { type KeyRow, selectKeys } from './records.ts'
import { adoptList } from './revocation/adopt-list.ts'
import { krlOf } from './revocation/krl.ts'
import { pruneKrl } from './revocation/prune-krl.ts'
import { selectRevocation } from './revocation/records.ts'
import {
  certificatesEnd,
  revocationInWords,
  revoke,
  revokeHostIn,
  revokePersonIn,
  revokeSessionsIn,
} from './revocation/revoke.ts'
import { serialsOf } from './serials.ts'
import { createSigner } from './sign.ts'
import { issueHostCertificate } from './ssh/issue-host-certificate.ts'
import { issueUserCertificate } from './ssh/issue-user-certificate.ts'

/** What somebody changes in the table of keys is noticed within a minute. */
const LOOK_EVERY = 30_000

/** Opens the authorities; at the very first start it makes their keys. */
export async function createAuthority(deps: AuthorityDeps): Promise<Authority> {
  const { store, random } = deps
  const signer = createSigner(deps.keystore, deps.ledger)
  const newRequestId = () => `req_${toBase64Url(random(12))}`
  const alarm = refusalAlarm(deps.alarm ?? (() => {}))
  const first = await ensureAuthorityKeys({ ...deps, signer, newRequestId })
  alarm(first.refused)
  let rows = first.known
  let ring = new KeyRing(rows)
  const keys = () => ring
  let machineRoots = ring.machines.map(key => key.root)
  const keystores = deps.standbyKeystore ? [deps.keystore, deps.standbyKeystore] : [deps.keystore]
  /** Keys that another server made come in; one that was known is never taken out or changed by what a row says now. */
  const reloadKeys = async (): Promise<void> => {
    const { known, refused } = await sortKeys(await selectKeys(store), keystores, deps.verifiedBundle())
    alarm(refused)
    const labels = new Set(rows.map(({ label }) => label))
    rows = [...rows, ...known.filter(({ label }) => !labels.has(label))]
    ring = new KeyRing(rows)
    machineRoots = ring.machines.map(key => key.root)
    refuseMissing(known, deps.verifiedBundle())
  }

  const onError = deps.onError ?? (() => {})

  const common = {
    ...deps,
    keys,
    signer,
    newRequestId,
    isKeyRevoked: (print: string) => deps.ledger.facts.has(revokedKeyId(print)),
  }
  const forUsers = { ...common, serials: serialsOf(common, ring.active('ssh-user').label) }
  const forHosts = { ...common, serials: serialsOf(common, ring.active('ssh-host').label) }
  const krl = krlOf({ ...common, reloadKeys })

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
    adoptList: (list, by) => adoptList(common, list, by),
    certificatesEnd: persons => certificatesEnd(common, persons),
    async findRevocation(id) {
      const row = await selectRevocation(store, id)
      if (!row) return undefined
      // Where the newest is in force, this one is; from when on, by the row, is anybody's word.
      await deps.ledger.follow()
      const krlVersion = krlVersions(deps.ledger.facts.ids).newest?.version ?? row.krlVersion
      return { ...row, krlVersion, revoked: row.certificates }
    },
    currentKrl: () => krl.current(),
    reload: reloadKeys,
    trusted: () => ring.trusted,
    machineRoots: () => machineRoots,
    pruneKrl: fence =>
      pruneKrl({ ...common, fence, alarm: message => onError(new KeymanError('unavailable', message)) }),

    async start() {
      const timer = setInterval(() => void reloadKeys().catch(onError), LOOK_EVERY)
      timer.unref()
      stops.push(() => clearInterval(timer))
    },
    async stop() {
      for (const stop of stops.splice(0)) await stop()
    },
  }
}

/** Once for each row: they are read again and again. */
function refusalAlarm(alarm: (message: string) => void): (refused: readonly KeyRow[]) => void {
  const told = new Set<string>()
  return refused => {
    for (const { label, purpose, state } of refused) {
      if (told.has(label)) continue
      told.add(label)
      alarm(
        `ALARM: authority_key has a row ${JSON.stringify(label)} (${purpose}, ${state}) that is no key of this keystore nor of the root of trust: somebody changed the database; it counts for nothing`,
      )
    }
  }
}
