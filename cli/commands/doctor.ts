import { existsSync, statSync } from 'node:fs'
import { userInfo } from 'node:os'
import { dirname } from 'node:path'
import { api } from '#shared/api/index.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { probe } from '../client.ts'
import { type Command, command, take } from '../command.ts'
import { type Context, currentContext, readSession, sessionFiles } from '../context.ts'
import { readIfThere } from '../files.ts'
import { type Folders, folders } from '../folders.ts'
import { localRemarks } from '../local-server.ts'
import { localAgent } from '../ssh-agent.ts'
import { sshFiles } from '../ssh-files.ts'
import { includeInstalled, ourFile } from '../ssh-include.ts'
import { includes } from '../ssh-lines.ts'
import { print, printJson, shown } from '../terminal.ts'
import { clockWords } from '../times.ts'

type Finding = { readonly check: string; readonly ok: boolean; readonly says: string }

const doctor = command({
  help: `keyman doctor: check what keyman needs on this machine
usage: keyman doctor [--json]

Exit code 0: all well; 9: something was found (each line says what to do).`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const places = folders()
    const context = currentContext(places)
    const findings = [
      ...folderModes(places),
      sshLine(places),
      agent(),
      signedIn(places, context),
      ...(context ? await server(context) : []),
      ...(context ? localRemarks(places, context).map(ofTheServer) : []),
    ]
    if (values.json) printJson({ findings })
    else for (const { ok, check, says } of findings) print(`${ok ? 'ok  ' : 'look'}  ${check}: ${shown(says)}`)
    return findings.every(finding => finding.ok) ? EXIT.done : EXIT.found
  },
})

function folderModes(places: Folders): Finding[] {
  return [places.config, places.runtime].filter(existsSync).map(folder => {
    const mode = statSync(folder).mode & 0o777
    const ok = (mode & 0o077) === 0
    return {
      check: folder,
      ok,
      says: ok ? 'only yours' : `others may enter it (mode ${mode.toString(8)}); run chmod 700 on it`,
    }
  })
}

function sshLine(places: Folders): Finding {
  const { userConfig } = sshFiles(places)
  if (!includeInstalled(places))
    return { check: userConfig, ok: false, says: 'does not include our hosts; run keyman ssh config --install' }
  const home = userInfo().homedir
  if (dirname(dirname(userConfig)) !== home)
    return {
      check: userConfig,
      ok: false,
      says: `ssh reads ${home}/.ssh/config, since it goes by the passwd entry, not by HOME`,
    }
  const lines = (readIfThere(userConfig) ?? '').split('\n')
  const before = lines.slice(
    0,
    Math.max(
      0,
      lines.findIndex(line => includes(line, ourFile(places))),
    ),
  )
  const ok = !before.some(line => /^\s*(host|match)[\s=]/i.test(line))
  return {
    check: userConfig,
    ok,
    says: ok
      ? 'includes our hosts'
      : 'our Include stands inside a Host or Match block and holds there alone; move it to the top',
  }
}

function agent(): Finding {
  const socket = localAgent()
  if (socket) return { check: 'ssh-agent', ok: true, says: socket }
  return { check: 'ssh-agent', ok: true, says: 'no local one; the key goes into a file of mode 0600' }
}

function signedIn(places: Folders, context: Context | undefined): Finding {
  const session = context && readSession(places, context.organisation)
  if (!context || !session || Date.parse(session.endsAt) < Date.now())
    return { check: 'session', ok: false, says: 'not signed in; run keyman login' }
  const { certificate } = sessionFiles(places, context.organisation)
  const ok = existsSync(certificate)
  return {
    check: 'session',
    ok,
    says: ok
      ? `${session.person}, ${certificate}`
      : `no certificate: ${session.denial ?? 'it is missing; run keyman login'}`,
  }
}

/** Worth knowing, and no fault of this machine's set-up: a server that was just tried out keeps its root key beside it. */
const ofTheServer = (says: string): Finding => ({ check: 'the server on this machine', ok: true, says })

async function server(context: Context): Promise<Finding[]> {
  const connection = { url: context.machinesUrl, root: context.machinesRoot }
  try {
    const { took, clock = 0 } = await probe(connection, api.trust.show.path)
    const off = clockWords(clock)
    return [
      { check: context.machinesUrl, ok: true, says: `reached in ${took} ms` },
      {
        check: 'clock',
        ok: off === undefined,
        says: off === undefined ? "agrees with the server's" : `${off}; set one of them right`,
      },
    ]
  } catch (error) {
    return [{ check: context.machinesUrl, ok: false, says: error instanceof Error ? error.message : String(error) }]
  }
}

export const commands: Record<string, Command> = { '': doctor }
