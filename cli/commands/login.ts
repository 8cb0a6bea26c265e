import { hostname } from 'node:os'
import { dirname } from 'node:path'
import { api } from '#shared/api/index.ts'
import { formatDuration, parseDuration } from '#shared/durations.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import type { LoginKeyType } from '#shared/login-key-types.ts'
import { pinContext } from '../context/change-context.ts'
import {
  type Context,
  currentContext,
  isWorkload,
  live,
  type PersonSession,
  principalOf,
  readableContexts,
  readableSession,
  readContext,
  removeSession,
} from '../context/context.ts'
import { checkWritable } from '../context/files.ts'
import { type Folders, folders, isOfWorkload } from '../context/folders.ts'
import { call } from '../server/client.ts'
import { installLogin } from '../session/install-session.ts'
import { commonKeyType, keyTypesHere, parseKeyType, refusing } from '../session/key-type.ts'
import { signIn } from '../session/login.ts'
import { liveSession, oneAtATime } from '../session/one-login.ts'
import { signedInJson } from '../session/signed-in-json.ts'
import { namedAgent } from '../ssh/agent.ts'
import { checkSshPaths, ownFolders, sshFiles } from '../ssh/files.ts'
import { agreeToNames } from '../ssh/host-names.ts'
import { offerInclude } from '../ssh/include.ts'
import { screenOf } from '../terminal/browser.ts'
import { type Command, command, usage } from '../terminal/command.ts'
import { isWatched, printJson, remark, shown } from '../terminal/terminal.ts'
import { span, until } from '../terminal/times.ts'
import { LOGIN_VARIABLES } from '../terminal/variables.ts'
import { rememberCheckpoint, sessionConnection } from '../trust/checkpoint.ts'
import { isLocal, localServer } from '../trust/local-server.ts'
import { firstContact, refreshTrust, type Trusted } from '../trust/trust-store.ts'
import { hostLogins } from './administration/host-logins.ts'

const login = command({
  help: `keyman login: sign this machine in with a passkey
usage: keyman login [URL --fingerprint SHA256:… | 'INVITATION'] [flags]

  URL                 the server's machine address, at first contact
  --fingerprint F     its root of trust, as your administrator gave it to you
  'INVITATION'        the line of an invitation, which holds both
  --for 8h            how long the session is to last
  --device            show a code to type in a browser on another machine
  --key-file          keep the SSH key in a 0600 file, for clients that read files and know no ssh-agent
  --key-type TYPE     ed25519, ecdsa-p256 or rsa-3072, for hosts that take no Ed25519; kept for later logins
  --no-browser        print the page instead of opening it
  --ssh-config yes|no add the line to ~/.ssh/config, or not, without asking
  --yes               accept the organisation's host names without asking
  --json              say on stdout who is signed in then, as keyman status --json does

examples:
  keyman login
  keyman login https://keys.example.com:4443 --fingerprint SHA256:uNiVztksCsDhcc0u9e8BrjdEQnDxTcWQ0mKNyoXvpSg
On the machine of a server nothing has to be given. More: docs/login.md
Who logged in on hosts: keyman login list`,
  options: {
    fingerprint: { type: 'string' },
    for: { type: 'string' },
    device: { type: 'boolean' },
    'key-file': { type: 'boolean' },
    'key-type': { type: 'string' },
    'no-browser': { type: 'boolean' },
    'ssh-config': { type: 'string' },
    yes: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  variables: LOGIN_VARIABLES,
  async run(values, positionals) {
    const target = parseTarget(positionals, values.fingerprint)
    const lifetime = parseDuration(values.for ?? '8h', '--for')
    // Nobody touches a passkey for a key that goes nowhere.
    namedAgent()
    if (values['ssh-config'] !== undefined && !['yes', 'no'].includes(values['ssh-config']))
      throw usage('--ssh-config is yes or no')
    const askedType = values['key-type'] === undefined ? undefined : parseKeyType(values['key-type'])
    const flow = values.device || screenOf() !== 'here' ? 'device' : 'loopback'

    const places = folders()
    // Before the server is asked for anything, and anybody touches a passkey.
    for (const folder of ownFolders(places)) checkWritable(folder)
    if (values['ssh-config'] === 'yes') checkWritable(dirname(sshFiles(places).userConfig))
    const found = await reach(places, target)
    if (flow === 'device' && !values.device && !isWatched())
      throw new KeymanError('not-signed-in', 'nobody is here to touch a passkey', {
        hint: 'run keyman login in a terminal, or add --device',
      })
    makeWay(places, found.pin.organisation)
    const hostSuffixes = await agreeToNames(places, found, values.yes === true)
    checkSshPaths(places, { ...found.pin, hostSuffixes, hosts: [] })
    const kept = askedType === undefined ? {} : { keyType: askedType }
    const context = await pinContext(places, { ...found.pin, hostSuffixes, ...kept })
    const here = keyTypesHere()
    const keyType = context.keyType ?? commonKeyType(here, context.hosts)
    const openBrowser = !values['no-browser']
    const session = await oneAtATime(places, context, async () => {
      const { keys, answer } = await signIn({
        ...{ context, lifetime, device: deviceName(), flow, openBrowser, keyType },
        say: remark,
      })
      const replaced = replacedSession(places, context)
      const installed = await installLogin(places, context, keys, answer, values['key-file'] === true)
      if (values.for !== undefined) sayWhereCut(lifetime, installed)
      await replaced?.()
      return installed
    })

    const { ssh } = session
    const ends = ssh
      ? `your certificate ends ${until(new Date(ssh.endsAt), new Date())}${ssh.limitedBy ? ` (${shown(ssh.limitedBy)})` : ''}`
      : `but you have no certificate: ${shown(session.denial ?? 'no grant gives you one')}`
    remark(`Signed in as ${shown(session.person)}; ${ends}.`)
    if (session.passkeys === 1)
      remark(`You have one passkey; lose it and you are locked out. Make a second: keyman passkey add`)
    const now = readContext(places, context.organisation) ?? context
    sayWhoRefuses(keyType, now, here)
    await rememberCheckpoint(places, context)
    await offerInclude(places, values['ssh-config'])
    if (values.json) printJson(signedInJson(now, session))
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { '': login, list: hostLogins }

/**
 * Throws `conflict` where a workload's session is live here: its jobs would go on as somebody else. One that is over is removed, and so is
 * what a join left that was stopped before its end: its client key would be taken for the person's.
 */
function makeWay(places: Folders, organisation: string): void {
  if (!isOfWorkload(places, organisation)) return
  const held = readableSession(places, organisation)
  if (held && isWorkload(held) && live(held, new Date()))
    throw new KeymanError('conflict', `this home has the session of ${principalOf(held)} at ${organisation}`, {
      hint: 'run keyman logout first, which ends it, or sign in as another Unix user',
    })
  removeSession(places, organisation)
}

/** What was asked for by `--for` and not given is said; a minute is the network's. */
function sayWhereCut(asked: number, { startedAt, endsAt }: PersonSession): void {
  const given = Math.round((Date.parse(endsAt) - Date.parse(startedAt)) / 1000)
  if (given < asked - 60) remark(`You asked for ${formatDuration(asked)}; the server allows ${span(given)} at most.`)
}

/** Which hosts take a key of this type was not known before it was made, say. */
function sayWhoRefuses(type: LoginKeyType, { hosts, keyType: asked }: Context, here: readonly LoginKeyType[]): void {
  const names = refusing(type, hosts).map(({ name }) => name)
  if (names.length === 0) return
  const better = commonKeyType(here, hosts)
  const next =
    refusing(better, hosts).length > 0
      ? `no type of key that this machine takes is taken by all: keyman why HOST says which is by one`
      : asked === undefined
        ? `the next keyman login makes one of ${better}, which all take`
        : `keyman login --key-type ${better} makes one that all take`
  const some = names.slice(0, 5).join(', ')
  remark(`Keys of the type ${type} are not taken by ${shown(some)}${names.length > 5 ? ', …' : ''}: ${next}.`)
}

/** Whoever hangs keeps no login waiting. */
const FAREWELL_MS = 3000

/**
 * Ends the session that a login is about to replace, as far as the server can be told: nobody would see its certificates any
 * more, and none of them is to live on. Asked for before its files are replaced, called after.
 */
function replacedSession(places: Folders, context: Context): (() => Promise<void>) | undefined {
  const held = liveSession(places, context)
  if (!held) return undefined
  try {
    const connection = sessionConnection(places, context)
    return (
      connection.client && (() => call(connection, api.session.end, { deadline: FAREWELL_MS }).catch(() => undefined))
    )
  } catch {
    return undefined
  }
}

type Target = { readonly url?: string; readonly fingerprint?: string }

/** Pure: a URL with its flag, or the line of an invitation as it was pasted, `keyman login URL --fingerprint SHA256:…`, quoted or not. */
export function parseTarget(positionals: readonly string[], flag: string | undefined): Target {
  const words = positionals.join(' ').trim().split(/\s+/).filter(Boolean)
  const [program, verb, ...rest] = words
  const [text, name, value, ...more] = program?.endsWith('keyman') && verb === 'login' ? rest : words
  if (more.length > 0 || (name !== undefined && (name !== '--fingerprint' || value === undefined)))
    throw usage('one server at a time: URL --fingerprint SHA256:…, or the line of an invitation')
  const fingerprint = flag ?? value
  if (fingerprint !== undefined && !/^SHA256:[A-Za-z0-9+/]{43}$/.test(fingerprint))
    throw usage(
      `--fingerprint: ${JSON.stringify(fingerprint)} is not a whole fingerprint`,
      'it is SHA256: and 43 characters',
    )
  if (text === undefined && fingerprint !== undefined) throw usage('--fingerprint belongs to a URL')
  return {
    ...(text === undefined ? {} : { url: serverUrl(text) }),
    ...(fingerprint === undefined ? {} : { fingerprint }),
  }
}

function serverUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  // Never shown: whoever has what stands after # makes the passkey.
  if (url?.pathname === '/enrol' && url.hash !== '')
    throw usage(
      'this is the link of an invitation, which is for a browser',
      'open it there, and make a passkey; then run the line that the page shows: keyman login URL --fingerprint SHA256:…',
    )
  if (url?.protocol !== 'https:' || url.pathname !== '/' || url.username || url.password || url.search || url.hash)
    throw usage(`${JSON.stringify(text.replace(/#.*/s, '#…'))} is not an address such as https://keys.example.com:4443`)
  return url.origin
}

/** The organisation's newest bundle, by the pin that is held, or by the fingerprint that came another way. First contact is never blind. */
async function reach(places: Folders, { url, fingerprint }: Target): Promise<Trusted> {
  const local = localServer(places)
  if (url === undefined) {
    const known = currentContext(places)
    // A server on this machine may have moved to another port since.
    if (known) return refreshTrust(known, isLocal(local, known) ? local?.machinesUrl : undefined)
    if (local) return firstContact(local, places)
    throw usage(
      'which server? nothing is pinned here yet',
      'keyman login URL --fingerprint SHA256:…, as your administrator gave it to you',
    )
  }
  if (fingerprint !== undefined) return firstContact({ machinesUrl: url, rootFingerprint: fingerprint }, places)
  const known = readableContexts(places).find(context => context.machinesUrl === url)
  if (known) return refreshTrust(known)
  if (local?.machinesUrl === url) return firstContact(local, places)
  throw usage(
    `${url} is not known here, and trusting it blindly would be no protection`,
    'add --fingerprint SHA256:…, as your administrator gave it to you',
  )
}

/** The machine's name as the page shows it: printable, short. */
const deviceName = (): string =>
  hostname()
    .replace(/[^A-Za-z0-9._-]/g, '')
    .slice(0, 80) || 'unnamed'
