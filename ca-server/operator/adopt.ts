import { randomBytes } from 'node:crypto'
import { accessRows } from '#server/access/index.ts'
import { createLogKeys, openLogKeys, pinnedBundle, revokedRows, serialRows } from '#server/authority/index.ts'
import { hostRows } from '#server/hosts/index.ts'
import { endEverything, identityRows } from '#server/identity/index.ts'
import {
  adoptLog,
  createLedger,
  type Fact,
  logName,
  makeSealKey,
  openLogMemory,
  readUnsealedLog,
} from '#server/ledger/index.ts'
import { openPins } from '#server/pins/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { ServerConfig } from '../config/index.ts'
import { openBase } from '../open-base.ts'
import { explained } from './explain-rows.ts'

/** What the operator is shown before anything is taken over. */
export type Adoption = {
  readonly records: bigint
  /** By what they are, such as `person`. */
  readonly facts: ReadonlyMap<string, readonly string[]>
  /** IDs of rows that no record of the old log explains. */
  readonly unexplained: readonly string[]
}

/**
 * Takes over the database of an earlier release, whose records had no seal: holds its log against its signed head, and its rows
 * against its log; shows both; and, once `confirm` says so, writes one sealed record of what was there. Sessions, links and join tokens end:
 * whoever had one begins anew. Rows that the log does not explain are taken over only where `confirm` was shown them.
 */
export async function adopt(
  config: ServerConfig,
  confirm: (adoption: Adoption) => Promise<boolean>,
): Promise<'adopted' | 'left'> {
  const base = await openBase(config, () => {})
  try {
    const { store, logKeystores, wrappingKeystores: keystores } = base
    const now = () => new Date()
    const random = (bytes: number) => new Uint8Array(randomBytes(bytes))
    // Whoever strips the seals from a log of ours would have what they wrote since taken over.
    const memory = await openLogMemory(openPins(config.dataFolder))
    if (memory.head())
      throw new KeymanError(
        'conflict',
        'this server remembers a log whose records are sealed: none is to be taken over',
        {
          hint: 'if the database holds none with a seal, somebody changed it: keep it as it is, and restore a backup (docs/audit.md)',
        },
      )
    const name = logName(config.organisation, store.incarnation)
    const bundle = await pinnedBundle(openPins(config.dataFolder))
    const logKeys = createLogKeys({ name, held: await openLogKeys(logKeystores), bundle: () => bundle })
    const log = await readUnsealedLog(store, { logKeys, origin: name })
    if (log.size === 0n)
      throw new KeymanError('conflict', 'the audit log of this database is empty: there is nothing to take over', {
        hint: 'start the server: keyman-server start',
      })
    const read = async (): Promise<Fact[]> =>
      (
        await Promise.all(
          [...identityRows, ...accessRows, ...hostRows, revokedRows, ...serialRows].map(rows => rows.read(store)),
        )
      ).flat()
    const facts = await read()
    const isExplained = explained(log.records)
    const adoption: Adoption = {
      records: log.size,
      facts: Map.groupBy(
        facts.map(({ id }) => id),
        id => id.slice(0, id.indexOf(':') < 0 ? undefined : id.indexOf(':')),
      ),
      unexplained: facts.filter(fact => !isExplained(fact)).map(({ id }) => id),
    }
    if (!(await confirm(adoption))) return 'left'
    const sealKey = await makeSealKey({ store, keystores, random, now })
    const requestId = `req_adopt_${randomBytes(9).toString('base64url')}`
    await adoptLog(store, log, { sealKey, facts, now: now(), requestId, ending: t => endEverything(t, now()) })
    // What the server will remember of it from its next start on.
    const ledger = await createLedger({ store, origin: name, logKeys, sealKey, memory, now, sawEmpty: true })
    await ledger.stop()
    return 'adopted'
  } finally {
    await base.close()
  }
}
