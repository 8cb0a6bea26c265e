import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { hasScreen } from './browser.ts'
import { type Context, currentContext, readSession, type Session } from './context.ts'
import { readIfThere, remove, writeFile } from './files.ts'
import { type Folders, makeFolder } from './folders.ts'
import { keymanProgram } from './ssh-files.ts'
import { openTerminal } from './terminal.ts'
import { takeTurn } from './turn.ts'

/** Not again for a minute after a refusal; a page of itself (an IDE without a terminal) at most once in ten minutes. */
const AFTER_REFUSAL_MS = 60_000
const BETWEEN_PAGES_MS = 600_000
const WAIT_FOR_OTHERS_MS = 60_000

/**
 * What ssh's `Match exec` comes to when the shell check found little or nothing left. True: the certificate is good.
 * False lets ssh go on with what the person has otherwise, so break-glass keys keep working.
 */
export async function checkBeforeSsh(folders: Folders, now: () => number = Date.now): Promise<boolean> {
  const context = currentContext(folders)
  if (!context) return false
  const left = (session: Session | undefined) => (session?.ssh ? Date.parse(session.ssh.endsAt) - now() : 0)
  const session = readSession(folders, context.organisation)
  if (left(session) > 0) {
    renewBehind(context)
    return true
  }
  const paths = marks(folders, context)
  if (recent(paths.refused, AFTER_REFUSAL_MS, now()))
    return tell(`the login was refused less than a minute ago; keyman login asks again`)
  // Fifty forks of Ansible come at once: one asks, the others wait for what it gets.
  return takeTurn(join(makeFolder(folders.runtime), `${context.organisation}.login`), WAIT_FOR_OTHERS_MS, async () => {
    if (left(readSession(folders, context.organisation)) > 0) return true
    if (session && Date.parse(session.endsAt) > now() && (await run(['ssh', 'renew'], 'ignore')) === 0) return true
    return loginByWhoIsThere(paths, now)
  })
}

async function loginByWhoIsThere(paths: ReturnType<typeof marks>, now: () => number): Promise<boolean> {
  const terminal = openTerminal()
  if (!terminal && !hasScreen()) return tell('not signed in, and nobody is here to ask; run keyman login first')
  if (!terminal) {
    if (recent(paths.page, BETWEEN_PAGES_MS, now()))
      return tell('not signed in; a page was opened a short while ago, or run keyman login')
    writeFile(paths.page, String(now()), 0o600)
  }
  terminal?.destroy()
  // ssh gives its checks /dev/null for stdin and stdout; remarks go to stderr, which is the person's.
  const code = await run(['login', '--ssh-config', 'no'], 'inherit')
  if (code === 0) {
    remove(paths.page)
    return true
  }
  writeFile(paths.refused, String(now()), 0o600)
  return false
}

/** With a live certificate ssh waits for no server: the renewal goes on behind it. */
function renewBehind(context: Context): void {
  const child = spawn(keymanProgram(), ['ssh', 'renew', '--context', context.organisation], {
    stdio: 'ignore',
    detached: true,
  })
  child.on('error', () => undefined)
  child.unref()
}

function run(args: string[], stderr: 'inherit' | 'ignore'): Promise<number> {
  return new Promise(resolve => {
    const child = spawn(keymanProgram(), args, { stdio: ['ignore', 'ignore', stderr] })
    child.once('error', () => resolve(1))
    child.once('exit', code => resolve(code ?? 1))
  })
}

const marks = (folders: Folders, context: Context) => ({
  refused: join(folders.runtime, `${context.organisation}.refused`),
  page: join(folders.runtime, `${context.organisation}.page`),
})

const recent = (path: string, within: number, now: number): boolean => now - Number(readIfThere(path) ?? 0) < within

function tell(line: string): false {
  process.stderr.write(`keyman: ${line}\n`)
  return false
}
