import { generateKeyPairSync, sign } from 'node:crypto'
import { decide } from '#server/access/decide.ts'
import type { Action, Grant, SelectableHost } from '#server/access/index.ts'
import { principalsFor } from '#server/access/principals.ts'
import { makeSnapshot } from '#server/access/snapshot.ts'
import { schemas } from '#shared/api/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { parseHostName, parsePersonIdentity, parsePlace, parseTeamName } from '#shared/names.ts'
import { percentile } from './numbers.ts'

/** Decisions of an organisation that is not small: 1,000 persons, 50 teams, 10,000 hosts in 40 environments, 500 grants. */
const PERSONS = 1_000
const TEAMS = 50
const HOSTS = 10_000
const GRANTS = 500
const ENVIRONMENTS = 40
const DECISIONS = 30_000

export type Decisions = {
  /** Microseconds. */ readonly p50: number
  readonly p99: number
  /** Microseconds of one Ed25519 signature in this process: what a certificate costs at the least. */ readonly signature: number
  /** Milliseconds to make what decisions read of the rows, and to make the principals files of all hosts. */
  readonly snapshot: number
  readonly principals: number
}

export function measureDecisions(): Decisions {
  const now = new Date()
  const persons = Array.from({ length: PERSONS }, (_, n) => parsePersonIdentity(`p${n}@example.com`, 'bench'))
  const place = (n: number) => parsePlace(`project${n % 20}/${n % 2 === 0 ? 'prod' : 'dev'}`, 'bench')
  const teams = Array.from({ length: TEAMS }, (_, n) => ({
    name: parseTeamName(`team${n}`, 'bench'),
    members: persons.filter((_, person) => person % TEAMS === n || person % 7 === n % 7),
  }))
  const hosts = Array.from(
    { length: HOSTS },
    (_, n): SelectableHost => ({
      name: parseHostName(`web${n}.prod.example.com`, 'bench'),
      labels: { env: n % 3 === 0 ? 'prod' : 'dev', tier: `t${n % 20}` },
      place: place(n % ENVIRONMENTS),
    }),
  )
  const grants = Array.from({ length: GRANTS }, (_, n): Grant => {
    const who = n % 3 === 0 ? persons[n] : `team:team${n % TEAMS}`
    const made = { id: `grant_${String(n).padStart(12, '0')}`, who, createdAt: now.toISOString(), createdBy: 'bench' }
    if (n % 10 === 0) return schemas.grant.parse({ ...made, kind: 'role', role: 'editor', in: place(n) })
    const selectors = [{ labels: { tier: `t${n % 20}` } }, { in: place(n) }, { host: hosts[n]?.name }]
    return schemas.grant.parse({ ...made, login: `u${n % 5}`, hosts: selectors[n % 3], maxLifetime: 3600, options: {} })
  })
  const rows = {
    persons: persons.map(identity => ({ identity, owner: false, state: 'active' as const })),
    teams,
    grants,
    epochs: new Map(persons.map(identity => [`person:${identity}`, 1n])),
  }
  const begun = performance.now()
  const snapshot = makeSnapshot(rows)
  const made = performance.now()
  for (const host of hosts) principalsFor(snapshot, host, now)
  const filed = performance.now()
  const times: number[] = []
  for (let n = 0; n < DECISIONS; n++) {
    const identity = persons[(n * 37) % PERSONS]
    const host = hosts[(n * 101) % HOSTS]
    if (!identity || !host) throw new Error('there is none')
    const actions: Action[] = [
      { kind: 'ssh-certificate' },
      { kind: 'ssh-login', host },
      { kind: 'do', wants: [{ action: 'host.change', in: host.place }] },
    ]
    const action = actions[n % 3]
    if (!action) throw new Error('there is none')
    const before = performance.now()
    decide(snapshot, now, { kind: 'person', identity }, action)
    times.push((performance.now() - before) * 1000)
  }
  times.sort((a, b) => a - b)
  return {
    p50: percentile(times, 50),
    p99: percentile(times, 99),
    signature: signatureMicroseconds(),
    snapshot: made - begun,
    principals: filed - made,
  }
}

function signatureMicroseconds(): number {
  const { privateKey } = generateKeyPairSync('ed25519')
  const data = utf8('x'.repeat(400))
  const times = Array.from({ length: 2_000 }, () => {
    const before = performance.now()
    sign(null, data, privateKey)
    return (performance.now() - before) * 1000
  }).sort((a, b) => a - b)
  return percentile(times, 50)
}
