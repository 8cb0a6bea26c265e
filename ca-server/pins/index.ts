import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { chmod, mkdir, open, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { z } from 'zod'
import { KeymanError } from '#shared/errors.ts'

/**
 * The door: what this server remembers outside of the database, because whoever administers the database may put anything
 * there, or an older state of it. One small file for each thing, in this server's own data folder. Whoever restores or
 * copies the data folder takes the memory along; and beside an embedded database it proves little.
 */
export type Pins = {
  /**
   * Undefined where nothing is pinned by that name. Throws `unavailable` for a file that others could have written, or
   * that is not what the schema says: a memory that can't be read must never count as none.
   */
  read<T>(name: PinName, schema: z.ZodType<T>): Promise<T | undefined>
  /** Durable once it resolves; whole or not at all; one after the other in the order of the calls. */
  write(name: PinName, value: unknown): Promise<void>
}
/** The file's name without `.json`. */
export type PinName = 'trust-bundle' | 'log-head' | 'log-state'

/** What a log says of a hundred thousand persons, passkeys, hosts and grants is some 50 MB; the other pins are small. */
const MAX_BYTES = 256 * 1024 * 1024

/** Pins lie in the folder `pins` below it, which is made with mode 0700. */
export function openPins(dataFolder: string): Pins {
  const folder = join(dataFolder, 'pins')
  const pathOf = (name: PinName) => join(folder, `${name}.json`)
  let last: Promise<unknown> = Promise.resolve()
  return {
    read: (name, schema) => readPin(pathOf(name), schema),
    write(name, value) {
      const written = last.then(() => writePin(folder, pathOf(name), value))
      last = written.catch(() => undefined)
      return written
    },
  }
}

async function readPin<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw unreadable(path, `can't be opened (${error.code})`)
  })
  if (!file) return undefined
  try {
    const { uid, mode, size } = await file.stat()
    if (size > MAX_BYTES) throw unreadable(path, 'is too large')
    if (uid !== process.geteuid?.() || (mode & 0o022) !== 0)
      throw unreadable(path, 'belongs to another user, or others may write it')
    const parsed = schema.safeParse(parseJson(await file.readFile('utf8')))
    if (!parsed.success) throw unreadable(path, 'is damaged')
    return parsed.data
  } finally {
    await file.close()
  }
}

async function writePin(folder: string, path: string, value: unknown): Promise<void> {
  const temporary = `${path}.${randomBytes(8).toString('hex')}.tmp`
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const file = await open(temporary, 'wx', 0o600)
    try {
      // The mode given to `open` is narrowed by the umask.
      await chmod(temporary, 0o600)
      await file.writeFile(`${JSON.stringify(value)}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    const directory = await open(folder, 'r')
    await directory.sync().finally(() => directory.close())
  } catch (cause) {
    await unlink(temporary).catch(() => undefined)
    throw new KeymanError('unavailable', `${path} can't be written`, {
      hint: "make room on the disk, and see that the folder is the server user's own",
      cause,
    })
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const unreadable = (path: string, what: string) =>
  new KeymanError('unavailable', `${path} ${what}: what this server remembers outside of the database can't be read`, {
    hint: 'put the file back from a backup of the data folder; without it nobody knows whether the database went back',
  })
