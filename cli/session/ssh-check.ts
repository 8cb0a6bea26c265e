import { spawn } from 'node:child_process'
import { closeSync } from 'node:fs'
import { KeymanError } from '#shared/errors.ts'
import {
  type Context,
  currentContext,
  endOf,
  isWorkload,
  live,
  nextAfter,
  principalOf,
  readSession,
  type Session,
} from '../context/context.ts'
import { readIfThere, writeFile } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import { isRecent, marksOf } from '../context/marks.ts'
import { takeTurn } from '../context/turn.ts'
import { keymanProgram } from '../program.ts'
import { hasDesktop } from '../terminal/browser.ts'
import { openTerminal, shown } from '../terminal/terminal.ts'
import { keyProblem } from './session-key.ts'

/** Not again for a minute after a refusal; a page of itself (an IDE without a terminal) at most once in ten minutes. */
const AFTER_REFUSAL_MS = 60_000
const BETWEEN_PAGES_MS = 600_000
const WAIT_FOR_OTHERS_MS = 60_000

/** `says`: one line for the person. `refused`: that nobody is asked again for a minute. */
type Outcome =
  | { readonly good: true; readonly says?: string }
  | { readonly good: false; readonly says: string; readonly refused?: true }
const GOOD: Outcome = { good: true }
const no = (says: string): Outcome => ({ good: false, says })
const refused = (says: string): Outcome => ({ good: false, says, refused: true })

/**
 * What ssh's `Match exec` comes to when the check script found nothing left. True: the certificate is good. False lets
 * ssh go on with what the person has otherwise, so break-glass keys keep working; one line on stderr says why.
 */
export async function checkBeforeSsh(folders: Folders, say: (line: string) => void): Promise<boolean> {
  const context = currentContext(folders)
  const outcome = context ? await check(folders, context, Date.now) : no('not signed in; run keyman login')
  if (outcome.says !== undefined) say(`keyman: ${shown(outcome.says)}`)
  return outcome.good
}

async function check(folders: Folders, context: Context, now: () => number): Promise<Outcome> {
  const session = () => readSession(folders, context.organisation)
  const marks = marksOf(folders, context)
  // Fifty forks of Ansible come at once: one asks, the others wait for what it gets.
  const outcome = await takeTurn(marks.turn, WAIT_FOR_OTHERS_MS, async () => {
    const held = session()
    const problem = held && (await keyProblem(folders, context.organisation, held))
    const isGone = problem?.isGone === true
    const usable = held !== undefined && !isGone
    // A key that may be there is left to ssh to try: a vault that is locked, say, asks the person only then.
    if (usable && isCertified(held, now()))
      return problem ? { good: true, says: `warning: ${problem.says}; ${problem.next}` } : GOOD
    const isOver = held !== undefined && isWorkload(held) && (isGone || !live(held, new Date(now())))
    if (isOver) return no(`${isGone ? problem.says : overWords(held)}; ${nextAfter(held)}`)
    const askAgain = held && isWorkload(held) ? 'keyman ssh renew' : 'keyman login'
    if (isRecent(marks.refused, AFTER_REFUSAL_MS, now()))
      return no(`${refusalOf(marks.refused)}, less than a minute ago; ${askAgain} asks again`)
    if (held && isWorkload(held)) {
      const got = (await renew(folders, context)) ?? no(`${overWords(held)}; ${nextAfter(held)}`)
      if (!got.good && got.refused) writeFile(marks.refused, `${now()} ${got.says}\n`, 0o600)
      return got
    }
    // For a key that is gone no certificate helps: whoever is there touches the passkey once more.
    const renewed = usable && live(held, new Date(now())) ? await renew(folders, context) : undefined
    const why = live(held, new Date(now())) && isGone ? problem.says : 'not signed in'
    const got = renewed ?? (await loginByWhoIsThere(context, marks, now(), why))
    if (!got.good && got.refused) writeFile(marks.refused, `${now()} ${got.says}\n`, 0o600)
    return got
  })
  return outcome ?? no('another login still waits for an answer')
}

/** Undefined where the session is over, so that a login helps. */
async function renew(folders: Folders, context: Context): Promise<Outcome | undefined> {
  const { renewSession } = await import('./renew.ts')
  try {
    await renewSession(folders, context, 'now')
    return GOOD
  } catch (error) {
    if (!(error instanceof KeymanError)) throw error
    return error.code === 'not-signed-in' ? undefined : refused(error.message)
  }
}

async function loginByWhoIsThere(
  context: Context,
  marks: ReturnType<typeof marksOf>,
  now: number,
  why: string,
): Promise<Outcome> {
  const terminal = openTerminal()
  try {
    if (terminal === undefined) {
      if (!hasDesktop()) return no(`${why}, and nobody is here to ask; run keyman login first`)
      if (isRecent(marks.page, BETWEEN_PAGES_MS, now))
        return no(`${why}, and a page was opened less than ten minutes ago; run keyman login`)
      writeFile(marks.page, `${now}\n`, 0o600)
    }
    const code = await login(context, terminal)
    return code === 0 ? GOOD : refused('the login did not come about')
  } finally {
    if (terminal !== undefined) closeSync(terminal)
  }
}

const LOOKS_EACH_MS = 500

/**
 * ssh gives its checks /dev/null for stdin and stdout; stderr is the person's, and so is the terminal that we opened. Where ssh was
 * ended meanwhile (by an editor, by a job's time limit), nobody waits for this login any more, and it ends too.
 */
function login(context: Context, terminal: number | undefined): Promise<number> {
  return new Promise(resolve => {
    const child = spawn(keymanProgram(), ['login', '--ssh-config', 'no', '--context', context.organisation], {
      stdio: [terminal ?? 'ignore', 'ignore', 'inherit'],
    })
    const ssh = process.ppid
    const looking = setInterval(() => process.ppid === ssh || child.kill(), LOOKS_EACH_MS)
    const ended = (code: number) => {
      clearInterval(looking)
      resolve(code)
    }
    child.once('error', () => ended(1))
    child.once('exit', code => ended(code ?? 1))
  })
}

/** Of a workload: nobody is asked to sign in. */
const overWords = (session: Session): string =>
  `the session of ${principalOf(session)} is over (${session.endedByServer === undefined && Date.parse(endOf(session)) <= Date.now() ? `it ended at ${endOf(session)}` : 'the server takes it no more'})`

const isCertified = (session: Session | undefined, now: number): boolean =>
  Date.parse(live(session, new Date(now))?.ssh?.endsAt ?? '') > now

const refusalOf = (path: string): string => (readIfThere(path) ?? '').trim().replace(/^\d+ /, '')
