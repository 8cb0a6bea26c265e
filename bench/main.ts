import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { cliStarts } from './cli-start.ts'
import { residentMegabytes } from './cpu.ts'
import { measureDecisions } from './decisions.ts'
import type { LoopResult } from './keystore-loop.ts'
import { type Generator, type Measured, startGenerator } from './load.ts'
import { keystoreLoop, sshKeygenLoop } from './loops.ts'
import { median } from './numbers.ts'
import {
  formatTable,
  machine,
  number,
  type Row,
  row,
  rowsTable,
  type Table,
  writeDocs,
  writeResults,
} from './report.ts'
import { type Algorithm, type BenchServer, startBenchServer } from './server.ts'
import { sshLogins } from './ssh-login.ts'

/**
 * What is fast, each figure held against something real in the same run: see docs/performance.md. Everything listens on
 * loopback, is bounded in time, and is gone afterwards.
 */
const { values } = parseArgs({ options: { docs: { type: 'boolean' } } })
/** Of one minute, before anything was started: what else the machine was doing. */
const [busy = 0] = loadavg()
const say = (text: string) => process.stdout.write(`${text}\n`)

/** Persons whose machines log in and renew. */
const PERSONS = 64
const ROUNDS = 3
/** Milliseconds of one measurement. */
const MEASURE = 2_500

/** ssh-keygen, the bare keystore and the server by turns, so that all meet the same machine. The median of each is what counts. */
async function renewalsAgainstKeystore(server: BenchServer, generator: Generator, algorithm: Algorithm) {
  const renewals: Measured[] = []
  const loops: LoopResult[] = []
  const keygens: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    keygens.push(await sshKeygenLoop(60))
    loops.push(await keystoreLoop({ keystore: server.keystore, algorithm, measure: MEASURE / 2 }))
    const warmUp = round === 0 ? 10_000 : 500
    renewals.push(await generator.run({ do: 'renewals', connections: 32, warmUp, measure: MEASURE }))
  }
  return { renewals: middle(renewals), loop: middle(loops), keygen: median(keygens) }
}

/** The measurement whose rate is the median. */
function middle<T extends { perSecond: number }>(all: readonly T[]): T {
  const rate = median(all.map(({ perSecond }) => perSecond))
  const found = all.find(({ perSecond }) => perSecond === rate)
  if (!found) throw new Error('nothing was measured')
  return found
}

async function withServer<T>(
  algorithm: Algorithm,
  persons: number,
  work: (server: BenchServer, generator: Generator) => Promise<T>,
): Promise<T> {
  const server = await startBenchServer(algorithm)
  try {
    const generator = await startGenerator(server, persons)
    try {
      return await work(server, generator)
    } finally {
      generator.close()
    }
  } finally {
    await server.close()
  }
}

const loadLine = (name: string, { perSecond, p50, p99, cpuPerThousand, cpu, count }: Measured): string[] => [
  name,
  number(perSecond),
  number(p50, 1),
  number(p99, 1),
  number(cpuPerThousand, 2),
  number((cpu.server / count) * 1000, 2),
  number((cpu.database / count) * 1000, 2),
  number((cpu.generator / count) * 1000, 2),
]
const LOAD_HEAD = ['load', 'a second', 'p50 ms', 'p99 ms', 'CPU s/1,000', 'server', 'database', '(generator)']

say(`machine: ${machine()}; load average before: ${busy.toFixed(1)}`)
say('server with PostgreSQL and SoftHSM, Ed25519 ...')
const ed25519 = await withServer('ed25519', PERSONS, async (server, generator) => {
  const rested = residentMegabytes(server.pid)
  const measured = await renewalsAgainstKeystore(server, generator, 'ed25519')
  const loads: [string, Measured][] = []
  for (const [kind, connections, warmUp] of [
    ['renewals', 1, 200],
    ['renewals', 128, 1_000],
    ['logins', 1, 20],
    ['logins', 32, 200],
    // As many as one address may have waiting: beyond 100 the oldest goes.
    ['logins', 96, 200],
  ] as const)
    loads.push([`${kind}, ${connections}`, await generator.run({ do: kind, connections, warmUp, measure: MEASURE })])
  loads.splice(1, 0, ['renewals, 32', measured.renewals])
  const loaded = residentMegabytes(server.pid)
  say('logins to a real sshd, starts of the CLI ...')
  const ssh = await sshLogins(server, 12)
  const cli = await cliStarts(server, 12)
  return { ...measured, loads, rested, loaded, ssh, cli }
})
say('server with PostgreSQL and SoftHSM, P-256 ...')
const p256 = await withServer('ecdsa-p256', 32, (server, generator) =>
  renewalsAgainstKeystore(server, generator, 'ecdsa-p256'),
)

say('decisions ...')
const decisions = measureDecisions()

const { renewals, loop, keygen, ssh, cli } = ed25519
const rows: Row[] = [
  row(
    'ssh-certificates-vs-ssh-keygen',
    '1/s',
    renewals.perSecond,
    keygen,
    'renewals at 32 connections; `ssh-keygen -s` loop',
  ),
  row(
    'ssh-certificates-vs-keystore',
    '1/s',
    renewals.perSecond,
    loop.perSecond,
    'the same; bare keystore, sign and verify',
  ),
  row(
    'ssh-certificates-cpu',
    's/1,000',
    renewals.cpuPerThousand,
    loop.cpuPerThousand,
    'server, database, HSM client; bare keystore, sign and verify',
  ),
  row(
    'login-vs-plain-key',
    'ms',
    ssh.certificate,
    ssh.plain,
    '`ssh HOST true` with certificate, principals file and KRL; with a plain key',
  ),
  row('cli-start-vs-empty-node', 'ms', cli.status, cli.empty, '`keyman status`; Node with an empty script'),
  row(
    'access-decision-p50',
    'µs',
    decisions.p50,
    decisions.signature,
    'a decision among 1,000 persons, 50 teams, 10,000 hosts, 500 grants; one Ed25519 signature in memory',
  ),
  row('access-decision-p99', 'µs', decisions.p99, decisions.signature, 'the same, of a hundred the slowest'),
  row('server-memory', 'MB', ed25519.loaded, ed25519.rested, 'resident after the load; at rest'),
]
const loads: Table = {
  title: 'Through the whole HTTPS API (Ed25519 authority)',
  head: LOAD_HEAD,
  lines: ed25519.loads.map(([name, measured]) => loadLine(name, measured)),
}
const keystoreLine = (name: string, { perSecond, cpuPerThousand }: LoopResult): string[] => {
  return [name, number(perSecond), '', '', number(cpuPerThousand, 2), '', '', '']
}
const algorithms: Table = {
  title: 'Key of the authority, renewals at 32 connections, against the bare keystore',
  head: LOAD_HEAD,
  lines: [
    loadLine('Ed25519', renewals),
    keystoreLine('Ed25519, keystore alone', loop),
    loadLine('P-256', p256.renewals),
    keystoreLine('P-256, keystore alone', p256.loop),
  ],
}
const text = [rowsTable(rows), loads, algorithms].map(formatTable).join('\n')
say(`\n${text}`)
const measuredAt = new Date().toISOString()
say(
  `written to ${writeResults({ measuredAt, machine: machine(), loadBefore: busy, rows, loads: ed25519.loads, p256 })}`,
)
if (values.docs)
  writeDocs(
    `Measured ${measuredAt.slice(0, 10)} on ${machine()}; load average of the machine before the run: ${busy.toFixed(1)}.\n\n${text}`,
  )
