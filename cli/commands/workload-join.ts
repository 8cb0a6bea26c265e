import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { parseWorkloadToken } from '#shared/join-token.ts'
import { pinContext } from '../context/change-context.ts'
import { type Context, endOf, principalOf, readContext, type WorkloadSession } from '../context/context.ts'
import { checkWritable } from '../context/files.ts'
import { folders, workloadsFolder } from '../context/folders.ts'
import { joinWorkload, makePlace } from '../session/join-workload.ts'
import { keyTypesHere, parseKeyType } from '../session/key-type.ts'
import { signedInJson } from '../session/signed-in-json.ts'
import { checkSshPaths, configFolders, sshFiles } from '../ssh/files.ts'
import { agreeToNames } from '../ssh/host-names.ts'
import { offerInclude } from '../ssh/include.ts'
import { command, usage } from '../terminal/command.ts'
import { askText, printJson, remark, shown } from '../terminal/terminal.ts'
import { until } from '../terminal/times.ts'
import { rememberCheckpoint } from '../trust/checkpoint.ts'
import { firstContact } from '../trust/trust-store.ts'

export const join = command({
  help: `keyman workload join: make this Unix user of this machine a workload, once, with its token
usage: keyman workload join [--token-file FILE|-] [flags]

  --token-file FILE    where the token is; - (and nothing): standard input, and at a terminal it asks for it
  --key-type TYPE      ed25519, ecdsa-p256 or rsa-3072, for hosts that take no Ed25519
  --no-ssh-config      leave ~/.ssh/config alone; without this the line is added, and nobody is asked
  --json               say on stdout what this is then, as keyman status --json does

Then plain ssh, rsync, git and Ansible work here, without an agent, a terminal or a browser: keys and
certificates lie in files and are renewed by themselves. The token says which server and which root of
trust are meant, and that its host names are left to it.
example:
  keyman workload join --token-file - < token
Undo: keyman logout. More: docs/workloads.md`,
  options: {
    'token-file': { type: 'string' },
    'key-type': { type: 'string' },
    'no-ssh-config': { type: 'boolean' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    if (positionals.length > 0)
      throw usage('the token is never an argument: everybody on this machine can read those', HOW_TO_GIVE_IT)
    const askedType = values['key-type'] === undefined ? undefined : parseKeyType(values['key-type'])
    const token = parseWorkloadToken(await readToken(values['token-file'] ?? '-'))
    const places = folders()
    // The token is good once: what can fail on this machine fails before it is used.
    for (const folder of [...configFolders(places), workloadsFolder(places)]) checkWritable(folder)
    if (!values['no-ssh-config']) checkWritable(dirname(sshFiles(places).userConfig))
    const found = await firstContact({ machinesUrl: token.url, rootFingerprint: token.fingerprint }, places)
    const { organisation } = found.pin
    const takeBack = await makePlace(places, { organisation }, token.name)
    let session: WorkloadSession
    try {
      // Nobody is here to be asked: whoever made the token has said yes.
      const hostSuffixes = await agreeToNames(places, found, true)
      checkSshPaths(places, { ...found.pin, hostSuffixes, hosts: [] })
      const context = await pinContext(places, { ...found.pin, hostSuffixes })
      session = await joinWorkload(places, context, token, askedType ?? keyTypesHere()[0] ?? 'ed25519')
    } catch (error) {
      takeBack()
      throw error
    }
    await rememberCheckpoint(places, { organisation })
    await offerInclude(places, values['no-ssh-config'] ? 'no' : 'yes')
    const context = readContext(places, organisation)
    for (const line of joinedLines(session, context?.hosts ?? [], new Date())) remark(line)
    if (values.json && context) printJson(signedInJson(context, session))
    return EXIT.done
  },
})

const HOW_TO_GIVE_IT =
  'make a new one (keyman workload token NAME), and give it by standard input: keyman workload join --token-file -'

/** From a file, or with `-` from standard input: all of it from a pipe, one line from a person at a terminal. */
async function readToken(file: string): Promise<string> {
  if (file === '-' && process.stdin.isTTY === true) return askText("Token, from 'keyman workload add': ")
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (error) {
    throw new KeymanError('not-found', `the token file ${file} can't be read`, { cause: error })
  }
}

/** Pure: what it is now, where it gets in, and until when. */
export function joinedLines(session: WorkloadSession, hosts: Context['hosts'], now: Date): string[] {
  const end = (time: string) => until(new Date(time), now, session.zone)
  const reached = hosts.map(host => `${host.name} (${host.logins.join(', ')})`).join('; ')
  return [
    `Joined as ${shown(principalOf(session))}.`,
    session.ssh
      ? `Its certificate ends ${end(session.ssh.endsAt)}; ssh and keyman renew it by themselves.`
      : `It has no certificate for ssh: ${shown(session.denial ?? 'no grant gives one')}.`,
    `The session ends ${end(session.endsAt)}, in any case${endOf(session) === session.endsAt ? '' : `; and ${end(endOf(session))}, unless it is renewed before`}.`,
    ...(reached === '' ? [] : [`It gets in to ${shown(reached)}.`]),
  ]
}
