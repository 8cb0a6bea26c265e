import { subjectNamed } from '#server/access/index.ts'
import { follow } from '#server/store/index.ts'
import { krlVersions, readEndOrders, revokedKeyId } from '#shared/audit/index.ts'
import { toBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { fingerprint } from '#shared/ssh/index.ts'
import { ensureAuthorityKeys } from './first-keys.ts'
import { HeldKeys } from './held-keys.ts'
import { KeyRing } from './keys.ts'
import { refuseMissing, sortKeys } from './known-keys.ts'
import { issueHostClientCertificate, issueSessionClientCertificate } from './machines/issue-client-certificate.ts'
import { keepServerCertificate } from './machines/server-certificate.ts'
import type { Authority, AuthorityDeps } from './port.ts'
import { type KeyRow, selectKeys } from './records.ts'
import { adoptList } from './revocation/adopt-list.ts'
import { certificatesEnd, knowsKey, revocationInWords } from './revocation/collect.ts'
import { krlOf } from './revocation/krl.ts'
import { krlRoom } from './revocation/krl-room.ts'
import { pruneKrl } from './revocation/prune-krl.ts'
import { selectRevocation } from './revocation/records.ts'
import { revoke, revokeAllIn, revokeHostIn, revokeSessionsIn } from './revocation/revoke.ts'
import { type Serials, serialsOf } from './serials.ts'
import { createSigner } from './sign.ts'
import { isSignerFact, stateOf } from './signers.ts'
import { issueHostCertificate } from './ssh/issue-host-certificate.ts'
import { issueUserCertificate } from './ssh/issue-user-certificate.ts'
import { planSwitch, switchToStandby } from './switch-to-standby.ts'
import { tellOfKeys } from './tell-of-keys.ts'

/** What somebody changes in the table of keys is noticed within a minute. */
const LOOK_EVERY = 30_000

/** Opens the authorities; at the very first start it makes their keys. */
export async function createAuthority(deps: AuthorityDeps): Promise<Authority> {
  const { store, random } = deps
  const newRequestId = () => `req_${toBase64Url(random(12))}`
  const onError = deps.onError ?? (() => {})
  const { facts } = deps.ledger
  const held = await HeldKeys.ask(deps.keystore, deps.standbyKeystore, deps.awayKeystore)
  const tell = tellOfKeys(held, deps.alarm ?? (() => {}))
  const first = await ensureAuthorityKeys({ ...deps, held, newRequestId })
  tell(first.refused)
  let rows = first.known
  let ring = new KeyRing(rows)
  const keys = () => ring
  let machineRoots = ring.machines.map(key => key.root)
  const signer = createSigner(
    { of: key => held.of(key).keystore, active: () => held.of(ring.active('ssh-user')).keystore },
    deps.ledger,
  )
  /** Which of them signs says the sealed log alone: a keystore that is away keeps no switch from taking effect. */
  const takeIn = (added: readonly KeyRow[] = []): void => {
    rows = [...rows, ...added].map(row => ({ ...row, state: stateOf(facts, row) }))
    ring = new KeyRing(rows)
    machineRoots = ring.machines.map(key => key.root)
  }
  /** Keys that another server made come in; one that was known is never taken out or changed by what a row says now. */
  const reloadKeys = async (): Promise<void> => {
    await deps.ledger.follow()
    await held.askAgain()
    const { known, refused } = sortKeys(await selectKeys(store), held, deps.verifiedBundle(), facts)
    tell(refused)
    const labels = new Set(rows.map(({ label }) => label))
    takeIn(known.filter(({ label }) => !labels.has(label)))
    refuseMissing(known, deps.verifiedBundle())
  }
  const trustedNow = () => JSON.stringify(ring.trusted)
  let told = trustedNow()
  const following = follow({
    store,
    channels: ['authority'],
    what: 'which authority keys there are',
    async read() {
      await reloadKeys()
      const before = told
      told = trustedNow()
      return told !== before
    },
    everyMs: LOOK_EVERY,
    onError,
  })

  const room = krlRoom({ facts, alarm: message => deps.alarm?.(message), most: deps.longestKrl })
  const common = {
    ...deps,
    room,
    keys,
    signer,
    newRequestId,
    isKeyRevoked: (print: string) => deps.ledger.facts.has(revokedKeyId(print)),
  }
  const serials = new Map<string, Serials>()
  /** Each key counts by itself: a serial is of the very key that signs it. */
  const serialsBy = (label: string): Serials => {
    const known = serials.get(label)
    if (known) return known
    const own = serialsOf(common, label)
    serials.set(label, own)
    return own
  }
  const alarmed = new Set<string>()
  const tellOnce = (of: string, message: string): void => {
    if (alarmed.has(of)) return
    alarmed.add(of)
    deps.alarm?.(message)
  }
  const issuing = { ...common, serials: serialsBy, tellOnce }
  // In turn with every other reading: of two at once each would bring the same keys in.
  const krl = krlOf({ ...common, reloadKeys: following.read })

  const stops: (() => void | Promise<void>)[] = []
  return {
    ready: signer.ready,
    issueUserCertificate: (caller, request) => issueUserCertificate(issuing, caller, request),
    issueHostCertificate: (caller, request) => issueHostCertificate(issuing, caller, request),
    issueSessionClientCertificate: (caller, origin) => issueSessionClientCertificate(common, caller, origin),
    issueHostClientCertificate: parts => issueHostClientCertificate(common, parts),
    async serverCertificate(names, onRenewed) {
      const { first, stop } = await keepServerCertificate(common, names, onRenewed)
      stops.push(stop)
      return first
    },

    words: (on, target) => revocationInWords(common, on, target),
    revoke: (target, reason, by, hostSessions) => revoke(common, target, reason, by, hostSessions),
    revokeAllIn: (t, whose, by, hostSessions) => revokeAllIn(common, t, whose, by, hostSessions),
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
      const isOrder = readEndOrders(deps.ledger.facts.ids).some(({ number }) => number === row.krlVersion)
      return { ...row, krlVersion, revoked: row.certificates, ...(isOrder ? { order: row.krlVersion } : {}) }
    },
    labelOf: print =>
      common.keys().ssh.find(({ purpose, ssh }) => purpose === 'ssh-user' && fingerprint(ssh) === print)?.label,
    async currentKrl() {
      const made = await krl.current()
      room.tell(made.bytes.length)
      return made
    },
    mayBeCertified: whose =>
      room.hasRoomFor(whose) && deps.access.decide(subjectNamed(whose), { kind: 'ssh-certificate' }).allow,
    knowsKey: publicKey => knowsKey(common, store, fingerprint(publicKey)),
    reload: following.read,
    onChange: following.onChange,
    trusted: () => ring.trusted,
    machineRoots: () => machineRoots,
    pruneKrl: fence =>
      pruneKrl({ ...common, fence, alarm: message => onError(new KeymanError('unavailable', message)) }),

    standby: () => planSwitch({ ...common, held }),
    async switchToStandby(by, confirmed) {
      const switched = await switchToStandby({ ...common, held }, by, confirmed)
      await deps.ledger.follow()
      return switched
    },

    async start() {
      const hearSwitch = (ids: readonly string[]) => {
        if (!ids.some(isSignerFact)) return
        takeIn()
        // Another server's standby key may be one that this one has not heard of.
        following.hear()
      }
      stops.push(deps.ledger.onFacts(hearSwitch))
      await following.start()
      stops.push(() => following.stop())
    },
    async stop() {
      for (const stop of stops.splice(0)) await stop()
    },
  }
}
