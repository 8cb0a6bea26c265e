import { hostname } from 'node:os'
import { join } from 'node:path'
import { parseDuration } from '#shared/durations.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { rememberCheckpoint } from '../checkpoint.ts'
import { type Command, command, take, usage } from '../command.ts'
import { type Context, currentContext, writeContext } from '../context.ts'
import { readIfThere } from '../files.ts'
import { type Folders, folders } from '../folders.ts'
import { installLogin } from '../install-session.ts'
import { chooseFlow, signIn } from '../login.ts'
import { offerInclude } from '../ssh-include.ts'
import { ask, canAsk, remark, shown } from '../terminal.ts'
import { until } from '../times.ts'
import { type FirstContact, fetchTrust } from '../trust-store.ts'

const login = command({
  help: `keyman login: sign this machine in with a passkey
usage: keyman login [URL --fingerprint SHA256:…] [flags]

  URL                 the server's machine address, at first contact
  --fingerprint F     its root of trust, as your administrator gave it to you
  --for 8h            how long the session is to last
  --device            show a code to type in a browser on another machine
  --no-browser        print the page instead of opening it
  --ssh-config yes|no add the line to ~/.ssh/config, or not, without asking
  --yes               accept the organisation's host names without asking

examples:
  keyman login
  keyman login https://keys.example.com:4443 --fingerprint SHA256:uNiVztksCsDhcc0u9e8BrjdEQnDxTcWQ0mKNyoXvpSg
On the machine of a server nothing has to be given. More: docs/login.md`,
  options: {
    fingerprint: { type: 'string' },
    for: { type: 'string' },
    device: { type: 'boolean' },
    'no-browser': { type: 'boolean' },
    'ssh-config': { type: 'string' },
    yes: { type: 'boolean' },
  },
  async run(values, positionals) {
    if (positionals.length > 1) take(positionals, ['URL'])
    const lifetime = parseDuration(values.for ?? process.env.KEYMAN_FOR ?? '8h', '--for')
    if (values['ssh-config'] !== undefined && !['yes', 'no'].includes(values['ssh-config']))
      throw usage('--ssh-config is yes or no')
    const places = folders()
    const known = currentContext(places)
    const context = await trusted(places, known, positionals[0], values.fingerprint)
    await agreeToNames(context, known, values.yes === true)
    writeContext(places, context)
    const flow = values.device ? 'device' : chooseFlow()
    const { keys, answer } = await signIn({
      context,
      lifetime,
      device: deviceName(),
      flow,
      openBrowser: !values['no-browser'],
      say: remark,
    })
    const session = await installLogin(places, context, keys, answer)
    const ends = session.ssh
      ? `certificate good ${until(new Date(session.ssh.endsAt), new Date())}`
      : `no certificate: ${session.denial ?? 'no grant'}`
    remark(`Signed in as ${shown(session.person)}; ${ends}.`)
    if (session.passkeys === 1)
      remark(`One passkey alone is one loss away from being locked out: make a second at ${context.publicUrl}`)
    await rememberCheckpoint(places, context)
    await offerInclude(places, values['ssh-config'])
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { '': login }

/** The organisation's newest bundle, by the pin that is held, or by the fingerprint that came another way. First contact is never blind. */
async function trusted(
  places: Folders,
  known: Context | undefined,
  url: string | undefined,
  fingerprint: string | undefined,
): Promise<Context> {
  if (url === undefined) {
    if (known) return fetchTrust(known, known)
    const local = localServer(places)
    if (local) return fetchTrust(local, undefined)
    throw usage(
      'which server? nothing is pinned here yet',
      'keyman login URL --fingerprint SHA256:…, as your administrator gave it to you',
    )
  }
  const machinesUrl = serverUrl(url)
  if (known && known.machinesUrl === machinesUrl && fingerprint === undefined) return fetchTrust(known, known)
  const local = localServer(places)
  const rootFingerprint = fingerprint ?? (local?.machinesUrl === machinesUrl ? local.rootFingerprint : undefined)
  if (rootFingerprint === undefined)
    throw usage(
      `${machinesUrl} is not known here, and trusting it blindly would be no protection`,
      'add --fingerprint SHA256:…, as your administrator gave it to you',
    )
  return fetchTrust({ machinesUrl, rootFingerprint }, undefined)
}

function serverUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol !== 'https:' || url.pathname !== '/' || url.username || url.search)
    throw usage(`${JSON.stringify(text)} is not an address such as https://keys.example.com:4443`)
  return url.origin
}

/** A server on this very machine says in its own data folder who it is; believed only where that folder is ours or root's. */
function localServer(places: Folders): FirstContact | undefined {
  const text = readIfThere(join(places.serverState, 'local.json'))
  if (!text) return undefined
  const { machinesUrl, rootFingerprint } = JSON.parse(text)
  return typeof machinesUrl === 'string' && typeof rootFingerprint === 'string'
    ? { machinesUrl, rootFingerprint }
    : undefined
}

/** The host names that an organisation claims are shown and agreed to, at first and at each change (invariant 14). */
async function agreeToNames(context: Context, known: Context | undefined, yes: boolean): Promise<void> {
  const held = known?.organisation === context.organisation ? known.hostSuffixes : undefined
  if (held && held.join() === context.hostSuffixes.join()) return
  const names = context.hostSuffixes.map(suffix => `*.${suffix}`).join(', ')
  remark(`${context.organisation} answers for the hosts ${names}; root of trust ${context.rootFingerprint}.`)
  if (yes || context.hostSuffixes.every(suffix => suffix.endsWith('.localhost'))) return
  if (!canAsk()) throw usage('nobody can be asked whether these host names are right', 'add --yes if they are')
  if (!(await ask('Is that right?', false)))
    throw new KeymanError('denied', 'the host names were not accepted; nothing was changed')
}

/** The machine's name as the page shows it: printable, short. */
const deviceName = (): string =>
  hostname()
    .replace(/[^A-Za-z0-9._-]/g, '')
    .slice(0, 80) || 'unnamed'
