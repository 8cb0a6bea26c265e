import { describe, expect, it } from 'vitest'
import { type Entry, encodeRecord } from '#server/ledger/entry.ts'
import { toHex, utf8 } from '../bytes.ts'
import { canonicalJson } from '../canonical-json.ts'
import { leafHash, TreeEdge } from '../merkle/index.ts'
import { fingerprint, type Krl, parsePublicKey } from '../ssh/index.ts'
import {
  type Fact,
  FactsAudit,
  failedFact,
  revokedFact,
  revokedKeyFact,
  StateAudit,
  type StateRow,
  versionFact,
} from './index.ts'

const AT = '2026-01-01T00:00:00.000Z'
/** A log that a server could have written. */
class Log {
  readonly records: string[] = []
  readonly #edge = TreeEdge.empty()
  #requests = 0

  /** `root`: of what is before it, or something else. */
  add(facts: readonly Fact[], entry: Partial<Entry> = {}, root = toHex(this.#edge.root())): this {
    const full: Entry = { requestId: `r${++this.#requests}`, kind: 'grant-added', actor: { kind: 'server' }, ...entry }
    return this.put(encodeRecord({ ...full, facts }, AT, { after: this.#edge.size, root }))
  }
  put(record: string): this {
    this.#edge.append([leafHash(utf8(record))])
    this.records.push(record)
    return this
  }
}

describe('the audit of what records say is so', () => {
  const audit = ({ records }: Log) => {
    const facts = new FactsAudit()
    for (const [n, record] of records.entries()) facts.take(BigInt(n), record)
    return facts.report()
  }
  const grant = (is: Fact['is']): Fact => ({ id: 'grant:1', is })

  it('finds nothing in a log as a server writes it', () => {
    const log = new Log()
      .add([grant('a')])
      .add([grant('b')])
      .add([])
    expect(audit(log)).toEqual({ good: 2, failed: [], notCheckable: [] })
  })

  it('names a record that was made to come after others, or for another place', () => {
    const other = toHex(leafHash(utf8('another')))
    expect(audit(new Log().add([grant('a')]).add([grant('b')], {}, other))).toMatchObject({
      good: 1,
      failed: [{ index: 1n, kind: 'grant-added', message: 'it was made to come after other records' }],
    })
    const kept = new Log().add([grant('a')])
    const again = kept.add([grant(null)]).put(kept.records[0] ?? '')
    expect(audit(again)).toMatchObject({ good: 2, failed: [{ index: 2n }] })
  })

  it('names a record of a change that had failed, or that was done in a session that had ended', () => {
    const failed = new Log().add([failedFact('late')]).add([grant('a')], { requestId: 'late' })
    expect(audit(failed).failed).toEqual([expect.objectContaining({ message: 'it is of late, which failed before' })])
    const session = { id: 'session:s', is: 'x' }
    const actor = { kind: 'person', identity: 'alice@example.com', session: 's' } as const
    const ended = new Log().add([session]).add([{ ...session, is: null }])
    expect(audit(ended.add([grant('a')], { actor })).failed).toMatchObject([{ index: 2n }])
    expect(audit(new Log().add([session]).add([grant('a')], { actor })).failed).toEqual([])
  })

  it('counts as not checkable what does not hold which records were before it', () => {
    const log = new Log().put(
      encodeRecord({ requestId: 'r', kind: 'grant-added', actor: { kind: 'server' }, facts: [grant('a')] }, AT, {
        after: 0n,
      }),
    )
    expect(audit(log)).toMatchObject({ good: 0, notCheckable: [{ index: 0n }] })
  })

  it('names a log that is said to be taken over and is another, or had begun to say what is so', () => {
    const old = '{"actor":{"kind":"server"},"kind":"login","requestId":"o"}'
    const root = (...records: string[]) => {
      const edge = TreeEdge.empty()
      edge.append(records.map(record => leafHash(utf8(record))))
      return toHex(edge.root())
    }
    const adopt = (log: Log, records: number, of: string) =>
      log.put(
        encodeRecord(
          {
            ...{ requestId: 'a', kind: 'log-adopted', actor: { kind: 'operator' }, facts: [grant('a')] },
            details: { records: `${records}`, root: of, part: 0, parts: 1 },
          },
          AT,
          { after: BigInt(records) },
        ),
      )
    expect(audit(adopt(new Log().put(old), 1, root(old)))).toEqual({ good: 1, failed: [], notCheckable: [] })
    expect(audit(adopt(new Log().put(old), 1, root('x'))).failed).toMatchObject([{ index: 1n, kind: 'log-adopted' }])
    const sealed = new Log().add([grant('x')])
    expect(audit(adopt(sealed, 1, root(...sealed.records))).failed).toMatchObject([{ index: 1n }])
  })
})

describe('the audit of rows', () => {
  const authority = parsePublicKey('ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJuvMTqrNEFmfLZ8YFRl2ZGDuUfO2rMIfSyNnyOCgXZ+')
  const bundle = {
    ...({ format: 'keyman-trust-v1', organisation: 'acme', version: 1, incarnation: 'one' } as const),
    ...{ publicUrl: 'https://ca.example.com', machinesUrl: 'https://ca.example.com:4443', hostSuffixes: [] },
    roots: { threshold: 1, keys: [] },
    ssh: { userAuthorities: [], hostAuthorities: [] },
    x509: [],
    logKey: { name: 'acme/keyman-log', key: '' },
  }
  const key = `SHA256:${'A'.repeat(43)}`
  const krl: Krl = {
    ...{ version: 2n, generatedAt: 7n, comment: '', keys: [], fingerprints: [new Uint8Array(32)] },
    certificates: [
      {
        authority,
        serials: [
          { from: 1n, to: 1n },
          { from: 4n, to: 6n },
        ],
        keyIds: [],
      },
    ],
  }
  const begun = () =>
    new Log()
      .add([], {
        kind: 'authority-key-created',
        target: 'ssh-user-1',
        details: { purpose: 'ssh-user', state: 'active', algorithm: 'ed25519', fingerprint: fingerprint(authority) },
      })
      .add([
        { id: 'grant:1', is: 'a' },
        versionFact(2n, 7n),
        revokedFact({ authority: 'ssh-user-1', from: 4n, to: 6n }),
        revokedKeyFact(key),
      ])
  const row = (id: string, is: Fact['is']): StateRow => ({ id, row: canonicalJson(is) })
  const rows = [row('grant:1', 'a'), row(`revoked-key:${key}`, 'revoked'), row('krl-version:2 7', 'version')]
  const audit = ({ records }: Log, shown: Partial<ConstructorParameters<typeof StateAudit>[0]> = {}) => {
    const facts = new FactsAudit()
    const state = new StateAudit({ since: BigInt(records.length), readAt: new Date(AT), rows, krl, bundle, ...shown })
    for (const [n, record] of records.entries()) state.take(BigInt(n), record, facts.take(BigInt(n), record))
    return state.report()
  }
  const differing = (...of: Parameters<typeof audit>) =>
    audit(...of).differing.map(({ id, message }) => `${id} ${message}`)

  it('finds nothing where rows and revocation list are what the log says', () => {
    expect(audit(begun())).toEqual({ good: 3, differing: [], notCheckable: [] })
  })

  it('takes for what is so whatever was so while the rows were read, and nothing older', () => {
    const changed = begun().add([{ id: 'grant:1', is: 'b' }])
    expect(audit(changed, { since: 2n }).differing).toEqual([])
    expect(differing(changed, { since: 3n })).toEqual(['grant:1 is not in the database as record 2 says'])
    const later = row('grant:2', 'a')
    const added = begun().add([{ id: 'grant:2', is: 'a' }])
    for (const shown of [rows, [...rows, later]]) expect(audit(added, { since: 2n, rows: shown }).differing).toEqual([])
    expect(differing(added, { since: 3n })).toEqual([
      'grant:2 is not in the database, though record 2 says that it is so',
    ])
    const gone = begun().add([{ id: 'grant:1', is: null }])
    expect(audit(gone, { since: 2n }).differing).toEqual([])
    expect(differing(gone, { since: 3n })).toEqual(['grant:1 is in the database, though record 2 says that it is gone'])
  })

  it('takes no head from before the reading, from which on all that ever was so would do', () => {
    const gone = begun().add([{ id: 'grant:1', is: null }])
    const later = (minutes: number) => new Date(Date.parse(AT) + minutes * 60_000)
    const hidden = { since: 0n, rows: [], krl: { ...krl, certificates: [], fingerprints: [] } }
    expect(differing(gone, { ...hidden, readAt: later(11) })).toEqual([
      expect.stringMatching(
        /^signed head was shown before the rows were read, without record 0, which was there by then/,
      ),
    ])
    expect(differing(gone, { since: 2n, readAt: later(11) })).toHaveLength(1)
    // One that is as new as clocks can tell.
    expect(differing(gone, { since: 2n, readAt: later(9) })).toEqual([])
    expect(differing(begun(), { readAt: later(11) })).toEqual([])
  })

  it('takes no passkey that was taken away with all that its person had', () => {
    const passkey = { id: 'passkey:1', is: { person: 'bob@example.com' } }
    const shown = { rows: [...rows, row(passkey.id, passkey.is)] }
    expect(audit(begun().add([passkey]), shown).differing).toEqual([])
    const ended = begun()
      .add([passkey])
      .add([{ id: 'passkeys-ended:bob@example.com', is: 'ended' }])
    expect(differing(ended, shown)).toEqual([
      'passkey:1 is in the database, though record 3 took all passkeys of bob@example.com away',
    ])
  })

  it('takes nothing that was in a place for what is in the next one of its name; what was put into that it does', () => {
    const host = { id: 'host:1', is: { name: 'web1.example.com', place: 'alpha' } }
    const place = (is: 'place' | null) => ({ id: 'place:alpha', is })
    const shown = { rows: [...rows, row('place:alpha', 'place'), row(host.id, host.is)] }
    const made = () =>
      begun()
        .add([place('place')])
        .add([host])
    expect(audit(made(), shown).differing).toEqual([])
    const again = () =>
      made()
        .add([place(null)])
        .add([place('place')])
    const lost = ['host:1 is in the database, and was said of a place:alpha that is there no more']
    expect(differing(again(), shown)).toEqual(lost)
    expect(differing(made().add([place(null)]), { rows: [...rows, row(host.id, host.is)] })).toEqual(lost)
    expect(differing(begun().add([host]), { rows: [...rows, row(host.id, host.is)] })).toEqual(lost)
    expect(differing(again().add([host]), shown)).toEqual([])
    // Its row was read before both went.
    const meanwhile = made()
      .add([{ ...host, is: null }])
      .add([place(null)])
    expect(differing(meanwhile, { ...shown, since: 4n })).toEqual([])
  })

  it('misses what is not on the revocation list, and names what nobody revoked', () => {
    const section = krl.certificates[0]
    if (!section) throw new Error('there is one')
    const listed = (...serials: { from: bigint; to: bigint }[]): Krl => ({
      ...krl,
      certificates: [{ ...section, serials }],
    })
    expect(differing(begun(), { krl: listed({ from: 4n, to: 5n }) })).toEqual([
      'revocation list lacks serials 4 to 6 of ssh-user-1, which was revoked',
    ])
    expect(differing(begun(), { krl: listed({ from: 4n, to: 7n }) })).toEqual([
      'revocation list has serials 4 to 7 of ssh-user-1, not all of which were revoked',
    ])
    expect(differing(begun(), { krl: { ...krl, fingerprints: [] } })).toEqual([
      `revocation list lacks the key ${key}, which was revoked`,
    ])
    expect(
      differing(begun(), { krl: { ...krl, fingerprints: [...krl.fingerprints, new Uint8Array(32).fill(1)] } }),
    ).toEqual([expect.stringMatching(/^revocation list has the key SHA256:AQ\S+, which was not revoked$/)])
    expect(differing(begun(), { krl: { ...krl, version: 1n } })).toEqual([
      'revocation list has the version 1, which no record says',
    ])
  })
})
