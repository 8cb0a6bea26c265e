import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import {
  canonicalJson,
  createLedger,
  type Entry,
  type Epoch,
  EpochsChanged,
  type IssueRequest,
  type Ledger,
  type LogKeys,
  Recorded,
} from '#server/ledger/index.ts'
import type { Store } from '#server/store/index.ts'
import { fromBase64Url, utf8 } from '#shared/bytes.ts'
import { auditRecords, leafHash, verifyCheckpoint, verifyConsistency, verifyInclusion } from '#shared/merkle/index.ts'

export const origin = 'test.keyman.localhost/log'
const { publicKey, privateKey } = generateKeyPairSync('ed25519')
export const logPublicKey = fromBase64Url(String(publicKey.export({ format: 'jwk' }).x))
export const logKey = {
  name: origin,
  publicKey: logPublicKey,
  sign: async (data: Uint8Array) => new Uint8Array(sign(null, data, privateKey)),
}
/** As the ledger asks for it: this key is the only one. */
export const onlyKey = ({ name, publicKey, sign }: typeof logKey): LogKeys => ({
  name,
  believed: () => [publicKey],
  sign: async data => ({ publicKey, signature: await sign(data) }),
})
export const logKeys = onlyKey(logKey)
export const sealKey = new Uint8Array(randomBytes(32))
/** A ledger that signs checkpoints without waiting for the next second. */
export const openLedger = (store: Store): Promise<Ledger> =>
  createLedger({ store, origin, logKeys, sealKey, now: () => new Date(), checkpointEveryMs: 0 })

let counter = 0
export const requestId = () => `request-${++counter}`
export const entry = (more: Partial<Entry> = {}): Entry => ({
  requestId: requestId(),
  kind: 'login',
  actor: { kind: 'person', identity: 'alice@example.com', session: 's1' },
  ...more,
})

let serial = 0n
/** A request to issue to alice in session s1, at these epochs. */
export function issueRequest(
  epochs: ReadonlyMap<string, bigint>,
  more: Partial<IssueRequest<string>> = {},
): IssueRequest<string> {
  const number = ++serial
  return {
    entry: entry({ kind: 'ssh-user-certificate', decision: 'allow', from: '192.0.2.7' }),
    body: `body ${number}`,
    bodyHash: new Uint8Array(createHash('sha256').update(`body ${number}`).digest()),
    certificate: {
      authority: 'SHA256:authority',
      serial: number,
      keyId: `alice@example.com/s1/${number}`,
      subjectKey: `SHA256:subject-${number}`,
      principals: ['alice@example.com', 'team:sre'],
      validAfter: 1_700_000_000n,
      validBefore: 4_000_000_000n,
      person: 'alice@example.com',
      session: 's1',
    },
    epochs: [...epochs].map(([subject, epoch]) => ({ subject, epoch })),
    ...more,
  }
}
/** Somebody who has no epoch. */
const actor = { kind: 'operator' } as const
export const subjects = ['person:alice@example.com', 'session:s1']

/** Revokes as the rooms above do: epochs first, then with a new snapshot what has been issued. */
export const revoke = (store: Store, ledger: Ledger, person = 'alice@example.com') =>
  store.transaction({ name: 'revoke', deadlineMs: 20_000 }, async t => {
    await ledger.bumpEpochs(t, [`person:${person}`])
    const found = await ledger.liveCertificates(t, { person })
    await ledger.appendIn(t, [entry({ actor, kind: 'revoked', details: { certificates: found.length } })])
    return found
  })

export async function auditAll(ledger: Ledger) {
  const head = verifyCheckpoint(await ledger.checkpoint(), { origin, logKeys: [logPublicKey] })
  async function* all() {
    for (let from = 0n; ; ) {
      const records = await ledger.list({ from, limit: 1000 })
      yield* records
      const last = records.at(-1)
      if (!last) return
      from = last.index + 1n
    }
  }
  return auditRecords(all(), [{ ...head, name: 'the newest checkpoint' }])
}

/** What the ledger has to do on every engine. */
export function ledgerContract(open: () => { store: Store; ledger: Ledger }): void {
  const codeOf = (work: Promise<unknown>) =>
    work.then(
      () => 'done',
      (error: unknown) => Object(error).code ?? Object(error).name,
    )

  describe('a record', () => {
    it('is durable canonical JSON with the next index when append resolves', async () => {
      const { ledger } = open()
      const first = await ledger.append(entry())
      const index = await ledger.append(
        entry({
          details: { z: 1, a: { '10': true, '9': null, skipped: undefined } },
          reason: 'naïve "quotes" \u0000 \u{1f511}',
        }),
      )
      expect(index).toBe(first + 1n)
      const record = await ledger.show(index)
      expect(record?.record).toBe(canonicalJson(JSON.parse(record?.record ?? 'null')))
      expect(JSON.parse(record?.record ?? 'null')).toMatchObject({
        actor: { identity: 'alice@example.com', kind: 'person', session: 's1' },
        details: { a: { '9': null, '10': true }, z: 1 },
        reason: 'naïve "quotes" \u0000 \u{1f511}',
        version: 1,
      })
    })

    it('with a request ID and kind that were used already is refused, and writes nothing', async () => {
      const { ledger } = open()
      const once = entry()
      const index = await ledger.append(once)
      expect(await codeOf(ledger.append({ ...once, reason: 'another' }))).toBe('conflict')
      expect(await ledger.append({ ...once, kind: 'logout' })).toBe(index + 1n)
    })

    it('that is too long or holds a fraction is refused', async () => {
      const { ledger } = open()
      expect(await codeOf(ledger.append(entry({ reason: 'x'.repeat(70_000) })))).toBe('too-large')
      expect(await codeOf(ledger.append(entry({ details: { n: 0.5 } })))).toBe('TypeError')
    })

    it('that the database refuses spoils no other of its group', async () => {
      const { ledger } = open()
      const work = Array.from({ length: 40 }, (_, n) =>
        codeOf(ledger.append(entry({ ...(n === 17 ? { requestId: `poison\u0000${n}` } : {}) }))),
      )
      const outcomes = await Promise.all(work)
      expect(outcomes.filter(outcome => outcome === 'done')).toHaveLength(39)
      expect(outcomes[17]).toBe('internal')
    })

    it('is there with the change of the same transaction, or not at all', async () => {
      const { store, ledger } = open()
      const one = entry({ actor, kind: 'revoked', requestId: 'both' })
      const both = [one, one]
      await store.transaction({ name: 'change', deadlineMs: 5_000 }, t => ledger.appendIn(t, both))
      const [, last] = await ledger.list({ limit: 2 })
      expect(last).toMatchObject({ kind: 'revoked', requestId: 'both' })
      const given = entry({ actor })
      const failed = store.transaction({ name: 'change', deadlineMs: 5_000 }, async t => {
        await ledger.appendIn(t, [given])
        throw new Error('the change failed')
      })
      await expect(failed).rejects.toThrow('the change failed')
      // And the log says so: what the database was given for it never comes later.
      const failures = async () => (await ledger.list({ limit: 1, kind: 'change-failed' })).map(({ record }) => record)
      await expect.poll(failures).toEqual([expect.stringContaining(`"target":"${given.requestId}"`)])
      expect(await ledger.append(entry())).toBe((last?.index ?? 0n) + 2n)
      const again = store.transaction({ name: 'again', deadlineMs: 5_000 }, t => ledger.appendIn(t, both))
      expect(await codeOf(again)).toBe('conflict')
      await expect.poll(failures).toEqual([expect.stringContaining('"target":"both"')])
    })

    it("in a person's name is written by a transaction that holds the person's epoch as it was read, and by no other", async () => {
      const { store, ledger } = open()
      const [before] = [...(await ledger.readEpochs(['person:alice@example.com']))].map(([subject, epoch]) => ({
        subject,
        epoch,
      }))
      if (!before) throw new Error('no epoch')
      const change = (share: readonly Epoch[]) =>
        store.transaction({ name: 'change', deadlineMs: 5_000 }, async t => {
          await ledger.takeEpochs(t, { share })
          await ledger.appendIn(t, [entry()])
        })
      const size = (await ledger.append(entry())) + 1n
      await change([before])
      expect(await codeOf(change([]))).toBe('internal')
      const other = (await ledger.readEpochs(['person:bob@example.com'])).get('person:bob@example.com') ?? 0n
      expect(await codeOf(change([{ subject: 'person:bob@example.com', epoch: other }]))).toBe('internal')
      await expect(change([before, { subject: 'person:nobody@example.com', epoch: 1n }])).rejects.toThrow(EpochsChanged)
      await store.transaction({ name: 'bump', deadlineMs: 5_000 }, t => ledger.bumpEpochs(t, [before.subject]))
      await expect(change([before])).rejects.toThrow(EpochsChanged)
      expect(await ledger.append(entry())).toBe(size + 1n)
    })

    it('of a thousand written at once, alone and with changes, has an index without gap', async () => {
      const { store, ledger } = open()
      const before = await ledger.append(entry())
      const epochs = await ledger.readEpochs(subjects)
      const indices = await Promise.all(
        Array.from({ length: 1000 }, (_, n) =>
          n % 100 === 0
            ? store
                .transaction({ name: 'change', deadlineMs: 20_000 }, t =>
                  ledger.appendIn(t, [entry({ actor, kind: 'grant-added' })]),
                )
                .then(() => undefined)
            : n % 2 === 0
              ? ledger.append(entry())
              : ledger.issue(issueRequest(epochs)).then(({ index }) => index),
        ),
      )
      const given = indices.filter(index => index !== undefined)
      expect(new Set(given).size).toBe(990)
      const all = await ledger.list({ from: before + 1n, limit: 2000 })
      expect(all.map(({ index }) => index)).toEqual(Array.from({ length: 1000 }, (_, n) => before + 1n + BigInt(n)))
    })

    it('can be listed by kind, by actor, from an index and before one', async () => {
      const { ledger } = open()
      const index = await ledger.append(
        entry({ kind: 'host-joined', actor: { kind: 'host', name: 'web1.example.com' } }),
      )
      const [found] = await ledger.list({ limit: 10, actor: 'host:web1.example.com' })
      expect(found).toMatchObject({ index, kind: 'host-joined' })
      expect(await ledger.list({ limit: 10, kind: 'host-joined', from: index })).toHaveLength(1)
      expect((await ledger.list({ limit: 3, before: index })).map(each => each.index)).toEqual([
        index - 3n,
        index - 2n,
        index - 1n,
      ])
      expect(await ledger.show(index + 1000n)).toBeUndefined()
    })
  })

  describe('issuing', () => {
    it('records the body that may be signed, and gives it once', async () => {
      const { ledger } = open()
      const request = issueRequest(await ledger.readEpochs(subjects))
      const recorded = await ledger.issue(request)
      expect(recorded).toBeInstanceOf(Recorded)
      const record = JSON.parse((await ledger.show(recorded.index))?.record ?? 'null')
      expect(record.certificate).toEqual({
        authority: 'SHA256:authority',
        bodyHash: request.bodyHash.toHex(),
        keyId: request.certificate.keyId,
        person: 'alice@example.com',
        principals: ['alice@example.com', 'team:sre'],
        serial: String(request.certificate.serial),
        session: 's1',
        subjectKey: request.certificate.subjectKey,
        validAfter: '1700000000',
        validBefore: '4000000000',
      })
      expect(recorded.take()).toBe(request.body)
      expect(() => recorded.take()).toThrow('was taken for signing before')
    })

    it('after the epochs were bumped records nothing and has it decided anew', async () => {
      const { store, ledger } = open()
      const old = await ledger.readEpochs(subjects)
      await revoke(store, ledger)
      const before = await ledger.list({ limit: 1 })
      const outcomes = await Promise.allSettled([
        ledger.issue(issueRequest(old)),
        ledger.issue(issueRequest(new Map([['person:nobody@example.com', 1n]]))),
        ledger.append(entry({ kind: 'logout' })),
      ])
      expect(outcomes.map(each => (each.status === 'rejected' ? each.reason.constructor : each.value))).toEqual([
        EpochsChanged,
        EpochsChanged,
        (before[0]?.index ?? 0n) + 1n,
      ])
      const now = await ledger.readEpochs(subjects)
      expect(now.get('person:alice@example.com')).toBe((old.get('person:alice@example.com') ?? 0n) + 1n)
      expect(now.get('session:s1')).toBe(old.get('session:s1'))
      await ledger.issue(issueRequest(now))
    })

    it('with a proof that was used is refused, at once, in the same group and later; its twin with another proof is not', async () => {
      const { ledger } = open()
      const epochs = await ledger.readEpochs(subjects)
      const outcomes = await Promise.all(
        ['p1', 'p1', 'p2', 'p1'].map(proof => codeOf(ledger.issue(issueRequest(epochs, { proof })))),
      )
      expect(outcomes.toSorted()).toEqual(['done', 'done', 'expired', 'expired'])
      expect(await codeOf(ledger.issue(issueRequest(epochs, { proof: 'p2' })))).toBe('expired')
      expect(await codeOf(ledger.issue(issueRequest(epochs, { proof: 'p3' })))).toBe('done')
    })

    it('twice with one request ID is refused: the second body is not the one that was recorded', async () => {
      const { ledger } = open()
      const epochs = await ledger.readEpochs(subjects)
      const request = issueRequest(epochs)
      await ledger.issue(request)
      expect(await codeOf(ledger.issue({ ...issueRequest(epochs), entry: request.entry }))).toBe('conflict')
    })

    it('with a serial that was given is refused', async () => {
      const { ledger } = open()
      const epochs = await ledger.readEpochs(subjects)
      const { certificate } = issueRequest(epochs)
      await ledger.issue(issueRequest(epochs, { certificate }))
      expect(await codeOf(ledger.issue(issueRequest(epochs, { certificate })))).toBe('internal')
    })

    it('takes the 159-bit serials of X.509', async () => {
      const { store, ledger } = open()
      const request = issueRequest(await ledger.readEpochs(subjects))
      const certificate = {
        ...request.certificate,
        serial: 2n ** 159n - 1n,
        authority: 'machines',
        host: 'web1.example.com',
      }
      await ledger.issue({ ...request, certificate })
      const by = { authority: 'machines', serial: 2n ** 159n - 1n }
      const [found] = await store.transaction({ name: 'find', deadlineMs: 5_000 }, t => ledger.liveCertificates(t, by))
      expect(found).toMatchObject({ serial: 2n ** 159n - 1n, host: 'web1.example.com', validBefore: 4_000_000_000n })
    })

    it('is found by person, session, host, serial, key ID and subject key, unless it has ended', async () => {
      const { store, ledger } = open()
      const epochs = await ledger.readEpochs(subjects)
      const request = issueRequest(epochs)
      const certificate = {
        ...request.certificate,
        person: 'bob@example.com',
        session: 'bobs',
        host: 'db1.example.com',
      }
      const recorded = await ledger.issue({ ...request, certificate })
      const ended = issueRequest(epochs)
      await ledger.issue({
        ...ended,
        certificate: { ...ended.certificate, person: 'bob@example.com', validBefore: 1_700_000_001n },
      })
      const { authority, keyId, subjectKey } = certificate
      for (const by of [
        { person: 'bob@example.com' },
        { session: 'bobs' },
        { host: 'db1.example.com' },
        { authority, serial: certificate.serial },
        { keyId },
        { subjectKey },
      ]) {
        const found = await store.transaction({ name: 'find', deadlineMs: 5_000 }, t => ledger.liveCertificates(t, by))
        expect(found).toMatchObject([{ serial: certificate.serial, record: recorded.index, person: 'bob@example.com' }])
      }
    })

    it('inside a transaction is refused at once', async () => {
      const { store, ledger } = open()
      await store.transaction({ name: 'outer', deadlineMs: 5_000 }, async () => {
        await expect(ledger.append(entry())).rejects.toThrow('inside the transaction outer')
        await expect(ledger.issue(issueRequest(new Map()))).rejects.toThrow('inside the transaction outer')
      })
    })
  })

  describe('the tree', () => {
    it('covers with its checkpoint every index that was given, and proves each record and each older tree', async () => {
      const { ledger } = open()
      const older = verifyCheckpoint(await ledger.checkpoint(), { origin, logKeys: [logPublicKey] })
      const indices = await Promise.all(Array.from({ length: 600 }, () => ledger.append(entry())))
      const newer = verifyCheckpoint(await ledger.checkpoint(), { origin, logKeys: [logPublicKey] })
      const index = indices.at(-1) ?? 0n
      expect(newer.size > index).toBe(true)
      const record = await ledger.show(index)
      const leaf = leafHash(utf8(record?.record ?? ''))
      expect(record?.leafHash).toEqual(leaf)
      expect(verifyInclusion(leaf, index, newer.size, await ledger.inclusionProof(index, newer.size), newer.root)).toBe(
        true,
      )
      expect(verifyConsistency(older, newer, await ledger.consistencyProof(older.size, newer.size))).toBe(true)
      expect(await codeOf(ledger.inclusionProof(newer.size, newer.size))).toBe('not-found')
      expect(await codeOf(ledger.consistencyProof(1n, newer.size + 1000n))).toBe('not-found')
    })

    it('stays the same checkpoint while nothing is recorded', async () => {
      const { ledger } = open()
      expect(await ledger.checkpoint()).toBe(await ledger.checkpoint())
    })

    it('is one tree although two servers write and sign it', async () => {
      const { store, ledger } = open()
      const second = await openLedger(store)
      for (let round = 0; round < 8; round++) {
        await Promise.all(Array.from({ length: 50 }, (_, n) => (n % 2 ? ledger : second).append(entry())))
        const notes = await Promise.all([ledger.checkpoint(), second.checkpoint()])
        const heads = notes.map(note => verifyCheckpoint(note, { origin, logKeys: [logPublicKey] }))
        expect(heads[0]).toEqual(heads[1])
      }
      expect(await auditAll(second)).toMatchObject({ ok: true })
    })

    it('is verified from outside', async () => {
      expect(await auditAll(open().ledger)).toMatchObject({ ok: true })
    })
  })
}
