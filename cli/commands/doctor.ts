import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { told } from '#shared/told.ts'
import {
  type Context,
  currentContext,
  damagedContexts,
  isWorkload,
  live,
  nextAfter,
  principalOf,
  readSession,
  type Session,
  sessionFiles,
} from '../context/context.ts'
import { onFile } from '../context/file-errors.ts'
import { checkWritable } from '../context/files.ts'
import { type Folders, folders } from '../context/folders.ts'
import { call, probe } from '../server/client.ts'
import { readyToAsk } from '../session/renew.ts'
import { keyProblem } from '../session/session-key.ts'
import { chooseAgent, namedAgent, whyUnusable } from '../ssh/agent.ts'
import { ownFolders, sshFiles } from '../ssh/files.ts'
import { includeState, readBySsh } from '../ssh/include.ts'
import { type Command, command, take } from '../terminal/command.ts'
import { print, printJson, shown } from '../terminal/terminal.ts'
import { clockWords } from '../terminal/times.ts'
import { sessionConnection } from '../trust/checkpoint.ts'
import { localRemarks } from '../trust/local-server.ts'

/** `note`: worth knowing, and no fault of this machine's set-up. */
type Finding = { readonly check: string; readonly ok: boolean; readonly note?: true; readonly says: string }

const doctor = command({
  help: `keyman doctor: check what keyman needs on this machine
usage: keyman doctor [--json]

ok: as it should be; note: worth knowing; look: something is wrong, and the line says what to do.
Exit code 0: all well; 9: something was found.`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const places = folders()
    let context: Context | undefined
    const findings = [
      ...(await looked('organisation', () => {
        context = currentContext(places)
        const says = context?.organisation ?? 'none is pinned yet'
        const others = damagedContexts(places).filter(name => name !== context?.organisation)
        return others.length === 0
          ? { ok: true, says }
          : { ok: false, says: `${says}; ${others.join(', ')}: ${DAMAGED}` }
      })),
      ...(
        await Promise.all(
          ownFolders(places, context?.organisation).map(folder => looked(folder, () => folderOf(folder))),
        )
      ).flat(),
      ...(await looked('ssh', ssh)),
      ...(await looked(sshFiles(places).userConfig, () => sshLine(places))),
      ...(await looked('ssh-agent', () => agent(places, context))),
      ...(await looked('session', () => session(places, context))),
      ...(context ? await server(context) : []),
      ...(context ? localRemarks(places, context).map(ofTheServer) : []),
    ]
    if (values.json) printJson({ findings })
    else
      for (const { ok, note, check, says } of findings)
        print(`${ok ? (note ? 'note' : 'ok  ') : 'look'}  ${check}: ${shown(says)}`)
    return findings.every(finding => finding.ok) ? EXIT.done : EXIT.found
  },
})

const DAMAGED =
  'its file is damaged, and its hosts are not in the ssh block; sign in there anew: keyman login URL --fingerprint SHA256:…'

type Looked = Omit<Finding, 'check'>

/** A check that cannot be made has found something. */
async function looked(check: string, look: () => Looked | Promise<Looked>): Promise<Finding[]> {
  try {
    return [{ check, ...(await look()) }]
  } catch (error) {
    const { message, hint } = told(error)
    return [{ check, ok: false, says: hint === undefined ? message : `${message}; ${hint}` }]
  }
}

function folderOf(folder: string): Looked {
  checkWritable(folder)
  if (!existsSync(folder)) return { ok: true, says: 'can be made' }
  const mode = onFile(folder, 'read', () => statSync(folder).mode) & 0o777
  return (mode & 0o077) === 0
    ? { ok: true, says: 'only yours' }
    : { ok: false, says: `others may enter it (mode ${mode.toString(8)}); run chmod 700 on it` }
}

function ssh(): Looked {
  const { stderr, error } = spawnSync('ssh', ['-V'], { encoding: 'utf8' })
  return error
    ? { ok: false, says: `there is no ssh in PATH that can be started (${error.message}); install OpenSSH's client` }
    : { ok: true, says: stderr.trim() }
}

function sshLine(places: Folders): Looked {
  const state = includeState(places)
  if (state === 'absent') return { ok: false, says: 'does not include our hosts; run keyman ssh config --install' }
  const other = readBySsh(places)
  if (other !== undefined)
    return { ok: false, says: `ssh reads ${other}, since it goes by the passwd entry, not by HOME` }
  return state === 'holds'
    ? { ok: true, says: 'includes our hosts' }
    : {
        ok: false,
        says: 'our Include stands inside a Host or Match block and holds there alone; keyman ssh config --install moves it to the top',
      }
}

async function agent(places: Folders, context: Context | undefined): Promise<Looked> {
  const held = context && readSession(places, context.organisation)
  if (held && isWorkload(held)) return { ok: true, says: "none is used: a workload's keys lie in files" }
  const socket = chooseAgent()
  const mayHave = held?.keyIn === 'file' ? held.mayBeIn : undefined
  if (mayHave !== undefined)
    return {
      ok: false,
      says: `the one at ${mayHave} may have the key of this session beside its file; keyman logout asks for it back`,
    }
  if (socket === undefined)
    return { ok: true, note: true, says: 'no local one that keys are put into; the key goes into a file of mode 0600' }
  const why = await whyUnusable(socket)
  if (why === undefined) return { ok: true, says: socket }
  const says = `${socket} is not used (${why}); the key goes into a file of mode 0600`
  return namedAgent() === socket
    ? { ok: false, says: `${says}; KEYMAN_SSH_AGENT names it: correct that, or set none` }
    : { ok: true, note: true, says }
}

/** By what lies here, and by the server's own word where it is reached: only there it is known whether the session was revoked. */
async function session(places: Folders, context: Context | undefined): Promise<Looked> {
  const held = context && readSession(places, context.organisation)
  const alive = live(held, new Date())
  if (!context || !alive)
    return {
      ok: false,
      says: `${held?.endedByServer ? 'the server has ended it' : 'not signed in'}; ${nextAfter(held)}`,
    }
  const answer = await shownBy(places, context, alive).catch((error: unknown) => error)
  if (answer instanceof KeymanError && answer.code === 'not-signed-in')
    return { ok: false, says: `the server does not take it any more: ${answer.message}; ${nextAfter(alive)}` }
  const { certificate } = sessionFiles(places, context.organisation)
  if (!existsSync(certificate))
    return {
      ok: false,
      says: `no certificate: ${alive.denial ?? `it is missing; ${isWorkload(alive) ? 'run keyman ssh renew' : 'run keyman login'}`}`,
    }
  const problem = await keyProblem(places, context.organisation, alive)
  if (problem !== undefined) return { ok: false, says: `${problem.says}; ${problem.next}` }
  return answer instanceof Error
    ? {
        ok: true,
        note: true,
        says: `${principalOf(alive)}, ${certificate}; the server could not be asked whether it still stands`,
      }
    : { ok: true, says: `${principalOf(alive)}, ${certificate}` }
}

/** What the server says of the session. */
async function shownBy(places: Folders, context: Context, session: Session): Promise<unknown> {
  if (!isWorkload(session)) return call(sessionConnection(places, context), api.session.show)
  return call(sessionConnection(places, await readyToAsk(places, context)), api.workloadSelf.show)
}

/** A server that was just tried out keeps its root key beside it. */
const ofTheServer = (says: string): Finding => ({ check: 'the server on this machine', ok: true, note: true, says })

async function server(context: Context): Promise<Finding[]> {
  let off: string | undefined
  const reached = await looked(context.machinesUrl, async () => {
    const connection = { url: context.machinesUrl, root: context.machinesRoot }
    const { took, clock = 0 } = await probe(connection, api.trust.show.path)
    off = clockWords(clock)
    return { ok: true, says: `reached in ${took} ms` }
  })
  if (!reached.every(({ ok }) => ok)) return reached
  const clock = off === undefined ? "agrees with the server's" : `${off}; set one of them right`
  return [...reached, { check: 'clock', ok: off === undefined, says: clock }]
}

export const commands: Record<string, Command> = { '': doctor }
