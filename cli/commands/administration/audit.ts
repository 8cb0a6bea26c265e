import { api } from '#shared/api/index.ts'
import {
  AssertionAudit,
  type AssertionReport,
  FactsAudit,
  type Remark,
  STATE_KINDS,
  StateAudit,
  type StateKind,
  type StateRemark,
  type StateReport,
  type StateRow,
} from '#shared/audit/index.ts'
import { fromBase64, fromHex, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import {
  type AuditedRecord,
  auditRecords,
  leafHash,
  parseCheckpoint,
  type TrustedHead,
  verifyCheckpoint,
  verifyInclusion,
} from '#shared/merkle/index.ts'
import { KRL_NAMESPACE } from '#shared/namespaces.ts'
import { decodeKrl, ed25519Key, parseSshsig, verifySshsigByAny } from '#shared/ssh/index.ts'
import { logOf, parseTrustDocument } from '#shared/trust/index.ts'
import { NEWEST_OPTIONS, newestQuery, remarkOnMore } from '../../calls/newest.ts'
import { callAsPerson, sessionToAsk } from '../../calls/session-call.ts'
import { changeContext } from '../../context/change-context.ts'
import { type Context, requireSession } from '../../context/context.ts'
import { folders } from '../../context/folders.ts'
import { type Connection, call } from '../../server/client.ts'
import { type Command, command, take } from '../../terminal/command.ts'
import { print, printJson, remark, shown, table } from '../../terminal/terminal.ts'
import { local } from '../../terminal/times.ts'
import { compareCheckpoint, heldCheckpoint, sessionConnection } from '../../trust/checkpoint.ts'
import { refreshTrust } from '../../trust/trust-store.ts'

/** The parts of a record that a list shows; the record itself is canonical JSON, see `docs/audit.md`. */
type Shown = {
  at?: string
  kind?: string
  actor?: { kind?: string; identity?: string; name?: string }
  target?: string
  decision?: string
  reason?: string
}

const parseRecord = (text: string): Shown => JSON.parse(text)

const list = command({
  help: `keyman audit list: what happened, newest last
usage: keyman audit list [--since TIME] [--until TIME] [--person P] [--host H] [flags]

  --since TIME  from then on: RFC 3339, 2030-01-31, the last 18:00, or how long ago, such as 7d
  --until TIME  up to then
  --person P    what names that person, or workload:NAME: who did it, on whom it was done, who was to get it
  --host H      what names that host; its short name will do
  --kind KIND   such as login, ssh-user-certificate, revoked
  --actor WHO   what was done by alice@example.com, host:web1.prod.example.com, operator, server
  --limit 100   how many of the newest; at most 1000
  --from N      from record N on instead
  --json | --json-lines   the answer, or a record a line

example:
  keyman audit list --since 7d --person alice@example.com
Check the whole log: keyman audit verify`,
  options: {
    ...NEWEST_OPTIONS,
    kind: { type: 'string' },
    actor: { type: 'string' },
    from: { type: 'string' },
    json: { type: 'boolean' },
    'json-lines': { type: 'boolean' },
  },
  async run(values, positionals) {
    take(positionals, [])
    const newest = await newestQuery(values)
    const answer = await callAsPerson(api.auditTrail.list, {
      query: { ...newest, kind: values.kind, actor: values.actor, from: values.from },
    })
    if (values.from === undefined) remarkOnMore(answer.records.length, newest.limit)
    if (values['json-lines']) {
      for (const record of answer.records) print(JSON.stringify(record))
      return EXIT.done
    }
    if (values.json) {
      printJson(answer)
      return EXIT.done
    }
    const rows = answer.records.map(({ index, record }) => {
      const { at, kind, actor, target, decision, reason } = parseRecord(record)
      return [
        index,
        at ? local(at) : '',
        kind ?? '',
        actor?.identity ?? actor?.name ?? actor?.kind ?? '',
        target ?? '',
        [decision, reason].filter(Boolean).join(': '),
      ]
    })
    print(table(['RECORD', 'TIME', 'WHAT', 'WHO', 'ON', ''], rows))
    return EXIT.done
  },
})

const show = command({
  help: `keyman audit show: one record, with the proof that it is in the log
usage: keyman audit show RECORD [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [index] = take(positionals, ['RECORD'])
    const places = folders()
    const { context } = requireSession(places, new Date())
    const answer = await callAsPerson(api.auditTrail.show, { params: { index } })
    const head = verifyCheckpoint(answer.checkpoint, logOf(context))
    // The leaf is hashed from the record's own text; the answer's word for it would prove nothing.
    const leaf = leafHash(utf8(answer.record))
    const proven =
      answer.index === index && verifyInclusion(leaf, BigInt(index), head.size, answer.proof.map(fromHex), head.root)
    if (values.json) printJson({ ...answer, proven })
    else {
      print(shown(JSON.stringify(JSON.parse(answer.record), null, 2)).replaceAll('\\u000a', '\n'))
      remark(
        proven
          ? `It is in the log of ${head.size} records.`
          : 'Its proof does not hold: this record is not in the signed log.',
      )
    }
    return proven ? EXIT.done : EXIT.found
  },
})

const verify = command({
  help: `keyman audit verify: recompute the whole log and hold it against its signed head and this machine's memory
usage: keyman audit verify [--state] [--json]

Names the first record that was changed, removed or moved. Of a log that is whole it also checks each login
and touch: that a passkey which the log gave to that person has signed just this; and each record that says
what is so from then on: that it was made for its place, by somebody who could still do it. Where a record
holds too little for that, it is not checkable, which is never counted as good.

  --state  the server's rows too (persons, passkeys, teams, grants, projects, hosts, keys, bundles, what is
           revoked): that the log says each of them, and that none is missing, nor anything of what hosts
           refuse
  --json   the answer

Exit code 0: as it should be; 9: something was found.`,
  options: { state: { type: 'boolean' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const places = folders()
    const { context } = await sessionToAsk(places)
    const connection = sessionConnection(places, context)
    const trusted = logOf(context)
    const remembered = heldCheckpoint(context)
    // Before the rows are read: each has to be what is so from here on, or what comes to be so until the newest head.
    const shownState = values.state ? await readState(connection, context, trusted) : undefined
    const memory = await compareCheckpoint(places, context)
    const heads: TrustedHead[] = []
    if (remembered !== undefined)
      heads.push({ name: 'the checkpoint that this machine remembers', ...parseCheckpoint(remembered) })
    if (memory.state === 'extends')
      heads.push({ name: 'the newest checkpoint', ...verifyCheckpoint(memory.checkpoint, trusted) })
    if (shownState) heads.push({ name: 'the checkpoint before the rows were read', ...shownState.head })
    const size =
      heads
        .map(head => head.size)
        .toSorted((a, b) => (a < b ? -1 : 1))
        .at(-1) ?? 0n
    const assertions = new AssertionAudit(context.publicUrl)
    const facts = new FactsAudit()
    const state = shownState && new StateAudit({ ...shownState, since: shownState.head.size })
    const judge = (index: bigint, record: string) => {
      assertions.take(index, record)
      const said = facts.take(index, record)
      state?.take(index, record, said)
    }
    const audit = await auditRecords(followedBy(judge, allRecords(connection, size)), heads)
    const compared =
      remembered === undefined
        ? 'not checked against truncation: this machine remembers no earlier checkpoint'
        : undefined
    const found = !audit.ok ? audit.message : memory.state === 'forked' ? memory.message : undefined
    // Of a log that was tampered with they say nothing.
    const reports =
      found === undefined
        ? { passkeys: assertions.report(), facts: facts.report(), ...(state && { state: state.report() }) }
        : undefined
    // What is not checkable is never counted as good.
    const ok = reports !== undefined && Object.values(reports).every(isGood)
    if (values.json)
      printJson({
        ok,
        records: String(size),
        ...(reports && {
          passkeys: reportJson(reports.passkeys),
          facts: reportJson(reports.facts),
          ...(reports.state && { state: reports.state }),
        }),
        ...(found ? { found } : {}),
        ...(compared ? { remark: compared } : {}),
        ...(audit.ok ? {} : { fault: audit.fault, first: String(audit.first) }),
      })
    else if (found !== undefined) print(tamperedWith(found))
    else
      print(
        `The log of ${size} records is whole${compared ? `; ${compared}` : ' and continues what this machine remembered'}.`,
      )
    if (reports && !values.json) {
      print(reportText("Logins and touches by their passkeys' signatures", reports.passkeys))
      print(reportText('Records that say what is so, by their places and by who acted', reports.facts))
      if (reports.state) print(stateText(reports.state))
    }
    if (found === undefined && memory.state === 'extends')
      await changeContext(places, context.organisation, () => ({ checkpoint: memory.checkpoint }))
    return ok ? EXIT.done : EXIT.found
  },
})

async function* followedBy(
  judge: (index: bigint, record: string) => void,
  records: AsyncIterable<AuditedRecord>,
): AsyncGenerator<AuditedRecord> {
  for await (const record of records) {
    judge(record.index, record.record)
    yield record
  }
}

const tamperedWith = (found: string): string => `The log was tampered with: ${shown(found)}.`

const isGood = (report: {
  notCheckable: readonly unknown[]
  failed?: readonly unknown[]
  differing?: readonly unknown[]
}) => report.notCheckable.length + (report.failed ?? report.differing ?? []).length === 0

/** All that the server shows of its rows, and what hosts refuse by, after a head that it has signed before. */
async function readState(connection: Connection, context: Context, trusted: ReturnType<typeof logOf>) {
  const readAt = new Date()
  const { checkpoint } = await call(connection, api.auditTrail.checkpoint)
  const { pin } = await refreshTrust(context)
  const rows: StateRow[] = []
  for (const kind of STATE_KINDS) rows.push(...(await allRows(connection, kind)))
  const { base64, signature } = await call(connection, api.auditTrail.krl, { deadline: 30_000 })
  const message = fromBase64(base64)
  const signed = { namespace: KRL_NAMESPACE, message, publicKeys: trusted.logKeys.map(ed25519Key) }
  if (!verifySshsigByAny(parseSshsig(signature), signed))
    throw new KeymanError('denied', 'the revocation list is not signed by a log key that is pinned here', {
      hint: 'tell your administrator',
    })
  const head = verifyCheckpoint(checkpoint, trusted)
  return { head, readAt, rows, krl: decodeKrl(message), bundle: parseTrustDocument(pin.bundle.document) }
}

async function allRows(connection: Connection, kind: StateKind): Promise<StateRow[]> {
  const rows: StateRow[] = []
  const seen = new Set<string>()
  for (;;) {
    const page = await call(connection, api.auditTrail.state, {
      query: { kind, after: rows.at(-1)?.id, limit: PAGE },
      deadline: 30_000,
    })
    if (page.rows.length === 0) return rows
    for (const row of page.rows) {
      if (seen.has(row.id)) throw new KeymanError('internal', `the server gave ${row.id} twice`)
      seen.add(row.id)
      rows.push(row)
    }
  }
}

function stateText({ good, differing, notCheckable }: StateReport): string {
  const line = (word: string) => (remark: StateRemark) => `${word}: ${shown(remark.id)} ${shown(remark.message)}`
  return [
    `Rows of the server and its revocation list: ${good} as the log says, ${differing.length} differ, ${notCheckable.length} not checkable.`,
    ...differing.map(line('differs')),
    ...notCheckable.map(line('not checkable')),
  ].join('\n')
}

function reportText(what: string, { good, failed, notCheckable }: AssertionReport): string {
  const line = (word: string) => (remark: Remark) =>
    `${word}: record ${remark.index}, ${shown(remark.kind)}: ${shown(remark.message)}`
  return [
    `${what}: ${good} good, ${failed.length} failed, ${notCheckable.length} not checkable.`,
    ...failed.map(line('failed')),
    ...notCheckable.map(line('not checkable')),
  ].join('\n')
}

function reportJson({ good, failed, notCheckable }: AssertionReport) {
  const each = ({ index, kind, message }: Remark) => ({ record: String(index), kind, message })
  return { good, failed: failed.map(each), notCheckable: notCheckable.map(each) }
}

const PAGE = 1000

/** Every record up to `size`, a page at a time, with a counter on a terminal. */
async function* allRecords(connection: Connection, size: bigint): AsyncGenerator<AuditedRecord> {
  for (let from = 0n; from < size; ) {
    const { records } = await call(connection, api.auditTrail.list, {
      query: { from: String(from), limit: PAGE },
      deadline: 30_000,
    })
    for (const { index, record, leafHash } of records) {
      if (BigInt(index) >= size) return
      yield { index: BigInt(index), record, leafHash: fromHex(leafHash) }
    }
    const last = records.at(-1)
    if (!last) return
    if (BigInt(last.index) < from) throw new KeymanError('internal', 'the server gave records out of order')
    from = BigInt(last.index) + 1n
    if (process.stderr.isTTY) process.stderr.write(`\r${from} of ${size} records${from >= size ? '\n' : ''}`)
  }
}

const checkpoint = command({
  help: `keyman audit checkpoint: the newest signed head of the log, which goes on from what this machine remembers
usage: keyman audit checkpoint [--json]

A server whose data folder is new wants it to start on an old database: docs/server.md
Exit code 0: as it should be; 9: the log is not the continuation of what is remembered, and nothing is given.`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const places = folders()
    const { context } = await sessionToAsk(places)
    const memory = await compareCheckpoint(places, context)
    if (memory.state !== 'extends') {
      // Not where the head is expected, which may go to a file.
      remark(tamperedWith(memory.message))
      return EXIT.found
    }
    if (values.json) printJson({ checkpoint: memory.checkpoint })
    else process.stdout.write(memory.checkpoint)
    return EXIT.done
  },
})

const exportLog = command({
  help: `keyman audit export: the whole log with its newest signed head, to be kept elsewhere
usage: keyman audit export > FILE

A line of JSON each: the head, then the records in their order. Whoever restores an older database gives FILE
to keyman-server restore, as its log: what was revoked or taken away since is revoked or taken away again.
Exit code 0: the log is whole, and goes on from what this machine remembers; 9: it is not.`,
  options: {},
  async run(_, positionals) {
    take(positionals, [])
    const places = folders()
    const { context } = await sessionToAsk(places)
    const memory = await compareCheckpoint(places, context)
    if (memory.state !== 'extends') {
      remark(`Nothing was exported: ${shown(memory.message)}.`)
      return EXIT.found
    }
    const { checkpoint } = memory
    const head = verifyCheckpoint(checkpoint, logOf(context))
    const line = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`)
    line({ checkpoint })
    const write = (index: bigint, record: string) => line({ index: String(index), record })
    const records = followedBy(write, allRecords(sessionConnection(places, context), head.size))
    const audit = await auditRecords(records, [{ name: 'the newest checkpoint', ...head }])
    if (!audit.ok) remark(`The log was tampered with: ${shown(audit.message)}.`)
    return audit.ok ? EXIT.done : EXIT.found
  },
})

export const commands: Record<string, Command> = { list, show, verify, checkpoint, export: exportLog }
