import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { NodeFS } from '@electric-sql/pglite/nodefs'

/**
 * PGlite on Node never syncs a file: Emscripten's NODEFS has no `fsync`, its `fdatasync` is empty, and PGlite starts
 * PostgreSQL with `-F`. That survives `kill -9`, but a power cut loses rows or the whole database. This class gives NODEFS a real
 * `fsync`. It rests on internals of PGlite 0.5 and Emscripten (`NODEFS.stream_ops`, `stream.nfd`, `NODEFS.realPath`),
 * so the version is pinned and `assertCommitSyncs` (in `pglite.ts`) checks at each start that a commit syncs.
 */
export class DurableFS extends NodeFS {
  /** Number of syncs so far. */
  syncs = 0

  override async init(...parameters: Parameters<NodeFS['init']>): ReturnType<NodeFS['init']> {
    const { emscriptenOpts } = await super.init(...parameters)
    return {
      emscriptenOpts: {
        ...emscriptenOpts,
        preRun: [...(emscriptenOpts.preRun ?? []), module => this.#giveFsync(Reflect.get(module, 'NODEFS'))],
      },
    }
  }

  #giveFsync(nodefs: EmscriptenNodeFS): void {
    nodefs.stream_ops.fsync = stream => {
      this.syncs++
      // fdatasync(2) writes the size too, where the file grew: all that PostgreSQL needs to read it back.
      if (stream.nfd !== undefined) fdatasyncSync(stream.nfd)
      else syncPath(nodefs.realPath(stream.node)) // Folders are not opened by NODEFS.
      return 0
    }
  }
}

type EmscriptenNodeFS = {
  stream_ops: { fsync?: (stream: { nfd?: number; node: unknown }) => number }
  realPath(node: unknown): string
}

/**
 * As PGlite starts PostgreSQL, but with syncing on, by the one call that has been given a body, and with the memory that one
 * connection and a small organisation need: 160 MB of buffers by default, all of it touched at the start (measured), where the system keeps
 * the files' pages anyway.
 */
export const DURABLE_START = [
  ...PGlite.defaultStartParams.filter(parameter => parameter !== '-F'),
  ...['wal_sync_method=fsync', 'shared_buffers=16MB', 'max_connections=5'].flatMap(setting => ['-c', setting]),
]

/**
 * Makes a new cluster beside, syncs every file and folder of it, and moves it into place: an interrupted creation leaves
 * nothing that could be taken for a database.
 */
export async function createCluster(path: string): Promise<void> {
  if (existsSync(path)) return
  const fresh = `${path}.new`
  rmSync(fresh, { recursive: true, force: true })
  mkdirSync(fresh, { mode: 0o700 })
  const database = await PGlite.create({ fs: new DurableFS(fresh), startParams: DURABLE_START })
  await database.close()
  syncTree(fresh)
  renameSync(fresh, path)
  syncPath(dirname(path))
}

function syncTree(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) syncTree(path)
    else if (entry.isFile()) syncPath(path)
  }
  syncPath(folder)
}

function syncPath(path: string): void {
  const file = openSync(path, 'r')
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
