import { z } from 'zod'
import type { Store } from '#server/store/index.ts'
import { type Facts, FactsAudit } from '#shared/audit/index.ts'
import { equalBytes, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { leafHash, parseCheckpoint, TreeEdge, verifyCheckpoint } from '#shared/merkle/index.ts'
import { newerBy } from './log/history.ts'
import type { LogKeys } from './log/sequencer.ts'
import { headSize, tileReader } from './tree-store.ts'

/** What a log says that somebody has exported, and that goes on where the database's ends. */
export type NewerLog = {
  readonly size: bigint
  readonly root: Uint8Array
  /** The number of its history. */
  readonly number: number
  /** What it says at its end. */
  readonly facts: Facts
  /** What it says something of after what the database holds: where it said so last, and its details. */
  readonly changed: ReadonlyMap<string, { readonly index: bigint; readonly details: string }>
}
/** `number`: of its history. */
export type KnownRoot = {
  readonly number: number
  readonly size: bigint
  readonly root: Uint8Array
  readonly by: string
}

const firstLine = z.strictObject({ checkpoint: z.string() })
const nextLine = z.strictObject({ index: z.string(), record: z.string() })
const withDetails = z.looseObject({ details: z.json().optional() })

/**
 * Reads what `keyman audit export` wrote, line by line. It counts by the signature of a key of the log over its head alone, whoever brings it: its
 * records are those of that head, its beginning is the database's, and it comes by each of `known` that is of its history. Throws `invalid-input` else.
 */
export async function readNewerLog(
  { store, logKeys }: { readonly store: Store; readonly logKeys: Pick<LogKeys, 'name' | 'believed'> },
  lines: AsyncIterable<string>,
  known: readonly KnownRoot[],
  own: number,
): Promise<NewerLog> {
  let head: { size: bigint; root: Uint8Array; number: number } | undefined
  const held = await headSize(store)
  const roots = [{ size: held, root: (await TreeEdge.load(held, tileReader(store))).root(), by: 'the database' }]
  const edge = TreeEdge.empty()
  const audit = new FactsAudit()
  const changed = new Map<string, { index: bigint; details: string }>()
  const compare = () => {
    for (const { size, root, by } of roots)
      if (size === edge.size && !equalBytes(root, edge.root()))
        throw refused(`its first ${size} records are not those of ${by}`)
  }
  for await (const line of lines) {
    if (line === '') continue
    if (!head) {
      const { checkpoint } = parsed(firstLine, line)
      const olderBy = newerBy(logKeys.name, parseCheckpoint(checkpoint).origin)
      const origin = olderBy === undefined ? logKeys.name : parseCheckpoint(checkpoint).origin
      head = { ...verifyCheckpoint(checkpoint, { origin, logKeys: logKeys.believed() }), number: own - (olderBy ?? 0) }
      const { number } = head
      if (number < own) throw refused('it is of a history that was given up')
      roots.push(...known.filter(each => each.number === number))
      compare()
      continue
    }
    const { index, record } = parsed(nextLine, line)
    if (index !== String(edge.size)) throw refused(`record ${edge.size} is missing`)
    // What came after its head nobody has signed.
    if (edge.size === head.size) break
    const said = audit.take(edge.size, record)
    if (edge.size >= held && said.length > 0) {
      const { details } = withDetails.parse(JSON.parse(record))
      for (const id of said)
        changed.set(id, { index: edge.size, details: details === undefined ? '' : JSON.stringify(details) })
    }
    edge.append([leafHash(utf8(record))])
    compare()
  }
  if (!head) throw refused('it is empty')
  if (edge.size !== head.size) throw refused(`it ends at record ${edge.size}, and its head has ${head.size}`)
  if (!equalBytes(edge.root(), head.root)) throw refused('its records are not those of its head')
  const [wrong] = audit.report().failed
  if (wrong) throw refused(`record ${wrong.index}: ${wrong.message}`)
  if (head.size <= held) throw refused(`it has ${head.size} records, and the database holds ${held}: nothing more`)
  return { ...head, facts: audit.facts, changed }
}

function parsed<T>(schema: z.ZodType<T>, line: string): T {
  try {
    return schema.parse(JSON.parse(line))
  } catch {
    throw refused('a line of it is none of an export')
  }
}
const refused = (why: string): KeymanError =>
  new KeymanError('invalid-input', `this is no export of the log that goes on from the database: ${why}`, {
    hint: 'give what keyman audit export has written, whole; or go on without it',
    fields: [{ field: 'log', message: why }],
  })
