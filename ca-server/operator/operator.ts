import { chmodSync, existsSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { z } from 'zod'
import { ERRORS, type ErrorCode, KeymanError } from '#shared/errors.ts'
import { lockFolder } from '#shared/folder-lock.ts'

/**
 * What somebody at the machine's own command line may ask of the running server: a socket in the data folder, which only
 * the server's own user can enter. One JSON line in, one out. The database may be embedded, so a second process can't open it.
 */
const question = z.discriminatedUnion('ask', [
  z.strictObject({ ask: z.literal('admin-link'), identity: z.string().max(128).optional(), isNew: z.boolean() }),
  /** `confirmed`: the labels of the keys that somebody has looked at. Without it says what would be done. */
  z.strictObject({
    ask: z.literal('switch-to-standby'),
    confirmed: z.array(z.string().max(63)).max(8).readonly().optional(),
  }),
])
export type Question = z.infer<typeof question>

const answer = z.union([
  z.strictObject({ ok: z.literal(true), result: z.unknown() }),
  z.strictObject({ ok: z.literal(false), code: z.string(), message: z.string(), hint: z.string().optional() }),
])

const MAX_LINE = 4096
/** Of a server that stops: for a question that came whole, and its answer. */
const TAKEN_WITHIN_MS = 2_000
const lockPath = (dataFolder: string): string => join(dataFolder, 'operator.lock')
const socketPath = (dataFolder: string): string => join(dataFolder, 'operator.sock')

/** Throws `conflict` where another server answers for this data folder. Resolves to a function that ends it. */
export async function listenForOperator(
  dataFolder: string,
  serve: (question: Question) => Promise<unknown>,
): Promise<() => Promise<void>> {
  const path = socketPath(dataFolder)
  const unlock = lockFolder(`the data folder ${dataFolder}`, lockPath(dataFolder))
  try {
    // Nobody else answers here while we have the lock: a socket that is still there belongs to a server that is gone.
    rmSync(path, { force: true })
    const sockets = new Set<Socket>()
    const asking = new Set<Socket>()
    const server = createServer(socket => {
      sockets.add(socket.once('close', () => sockets.delete(socket)))
      asking.add(socket)
      socket.once('close', () => asking.delete(socket))
      void converse(socket, serve, () => asking.delete(socket))
    })
    const before = process.umask(0o177)
    try {
      await listening(server, path)
    } finally {
      process.umask(before)
    }
    chmodSync(path, 0o600)
    return async () => {
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      // Half a line, however it trickles in, is no question yet; an answer is taken at once, or not at all.
      for (const socket of asking) socket.destroy()
      const over = setTimeout(() => {
        for (const socket of sockets) socket.destroy()
      }, TAKEN_WITHIN_MS)
      await closed.finally(() => clearTimeout(over)).finally(unlock)
    }
  } catch (error) {
    unlock()
    throw error
  }
}

/** Whether a server runs on this data folder. */
export function isServed(dataFolder: string): boolean {
  if (!existsSync(lockPath(dataFolder))) return false
  try {
    lockFolder(`the data folder ${dataFolder}`, lockPath(dataFolder))()
    return false
  } catch (error) {
    if (error instanceof KeymanError && error.code === 'conflict') return true
    throw error
  }
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
}

async function converse(
  socket: Socket,
  serve: (question: Question) => Promise<unknown>,
  asked: () => unknown,
): Promise<void> {
  socket.on('error', () => socket.destroy())
  try {
    const line = await readLine(socket).finally(asked)
    const { success, data } = question.safeParse(JSON.parse(line))
    if (!success) throw new KeymanError('invalid-input', 'the server does not know this question')
    socket.end(`${JSON.stringify({ ok: true, result: await serve(data) })}\n`)
  } catch (error) {
    const ours =
      error instanceof KeymanError ? error : new KeymanError('internal', 'the question could not be answered')
    socket.end(`${JSON.stringify({ ok: false, code: ours.code, message: ours.message, hint: ours.hint })}\n`)
  }
}

function readLine(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    socket.setEncoding('utf8')
    socket.setTimeout(10_000, () => socket.destroy(new Error('no line came in time')))
    socket.on('error', reject)
    socket.on('end', () => reject(new Error('the line is not whole')))
    socket.on('data', (chunk: string) => {
      text += chunk
      const end = text.indexOf('\n')
      if (end >= 0) resolve(text.slice(0, end))
      else if (text.length > MAX_LINE) socket.destroy(new Error('the line is too long'))
    })
  })
}

/** Asks the running server; undefined where none runs on this data folder. */
export async function askServer(dataFolder: string, asked: Question): Promise<unknown> {
  const path = socketPath(dataFolder)
  if (!existsSync(path)) return undefined
  const socket = connect(path)
  const connected = await new Promise<boolean>(resolve => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  })
  if (!connected) return undefined
  socket.write(`${JSON.stringify(asked)}\n`)
  const said = answer.parse(JSON.parse(await readLine(socket)))
  if (said.ok) return said.result
  const code: ErrorCode = said.code in ERRORS ? (said.code as ErrorCode) : 'internal'
  throw new KeymanError(code, said.message, said.hint === undefined ? {} : { hint: said.hint })
}
