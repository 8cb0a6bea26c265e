import { api } from '#shared/api/index.ts'
import { isPersonIdentity, isWorkloadPrincipal, parseKeyId, parsePersonIdentity } from '#shared/names.ts'
import { parsePublicKey } from '#shared/ssh/index.ts'
import { callByFlags } from '../../calls/call-by-flags.ts'
import {
  HOST_SESSION_OPTIONS,
  hostSessionsOf,
  sayInForce,
  secondsToWait,
  WAIT_OPTIONS,
  waiting,
} from '../../calls/in-force.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { principalOf, requireSession } from '../../context/context.ts'
import { readGiven } from '../../context/files.ts'
import { folders } from '../../context/folders.ts'
import { forgetSession } from '../../session/forget-session.ts'
import { type Command, command, take, usage } from '../../terminal/command.ts'
import { printJson, remark, shown } from '../../terminal/terminal.ts'

const revoke = command({
  help: `keyman revoke: end access now, and see the hosts confirm it
usage: keyman revoke (--person P | --key-id ID | --serial N | --key FILE | workload:NAME) [flags]

  --person P     every certificate and session of that person
  --key-id ID    the certificates with that key ID, as sshd's log shows it
  --serial N     one certificate
  --key FILE     a public key (.pub): that key, whatever certificate it has
  workload:NAME  the session of that workload, as keyman workload end
  --reason TEXT  kept in the audit log
  --kill-sessions  end open sessions on hosts too; so it is with --person and a workload
  --keep-sessions  let them go on
  --wait 5       how many seconds to wait for hosts
  --no-wait      for scripts: don't, and say nothing of hosts
  --json

example:
  keyman revoke --person alice@example.com --reason 'laptop lost'
The person may sign in again; keyman person disable forbids that.
Exit code 9: not every connected host has confirmed in time.`,
  options: {
    person: { type: 'string' },
    'key-id': { type: 'string' },
    serial: { type: 'string' },
    key: { type: 'string' },
    reason: { type: 'string' },
    ...HOST_SESSION_OPTIONS,
    ...WAIT_OPTIONS,
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    const [word = ''] = positionals
    if (isPersonIdentity(word))
      throw usage(`revoke wants to be told what ${word} is`, `all that a person has: keyman revoke --person ${word}`)
    if (isWorkloadPrincipal(word)) {
      take(positionals, ['WORKLOAD'])
      const of = Object.keys(values).find(
        flag => !['reason', 'wait', 'no-wait', 'kill-sessions', 'json', 'context'].includes(flag),
      )
      if (of !== undefined) throw usage(`--${of} does not go with ${word}`, `keyman workload end ${word} is the same`)
      const { endWorkload } = await import('./workload.ts')
      return endWorkload(word, values)
    }
    take(positionals, [])
    const target = chosen(values)
    const wait = secondsToWait(values)
    const hostSessions = hostSessionsOf(values)
    const places = folders()
    const { context, session } = requireSession(places, new Date())
    const oneself = 'person' in target && target.person === principalOf(session)
    if (oneself && hostSessions === 'keep')
      throw usage('--keep-sessions does not go with oneself: whatever is yours ends')
    const { deadline } = waiting(wait)
    const answer = oneself
      ? await callAsPerson(api.revocations.own, { deadline })
      : await callByFlags(
          api.revocations.create,
          {
            body: {
              target,
              wait: wait ?? 0,
              ...(values.reason === undefined ? {} : { reason: values.reason }),
              ...(hostSessions === undefined ? {} : { hostSessions }),
            },
            deadline,
          },
          { reason: '--reason' },
        )
    // What was just ended is of no more use here; plain ssh then asks to sign in again.
    if (oneself) await forgetSession(places, context)
    if (values.json) printJson(answer)
    else
      remark(
        `Revoked ${count(answer.revoked, 'certificate')} and ended ${count(answer.sessions, 'session')} (${shown(answer.target)}).`,
      )
    return sayInForce(answer, wait, values.json, oneself ? ['That was you: keyman login signs in again.'] : [])
  },
})

const count = (n: number, thing: string): string => `${n} ${thing}${n === 1 ? '' : 's'}`

type Flags = { person?: string; 'key-id'?: string; serial?: string; key?: string }

function chosen(values: Flags) {
  const given = [values.person, values['key-id'], values.serial, values.key].filter(value => value !== undefined)
  if (given.length !== 1) throw usage('exactly one of --person, --key-id, --serial and --key')
  if (values.person !== undefined) return { person: parsePersonIdentity(values.person, '--person') }
  if (values['key-id'] !== undefined) return { keyId: parseKeyId(values['key-id'], '--key-id') }
  if (values.serial !== undefined) {
    if (!/^[1-9][0-9]{0,19}$/.test(values.serial)) throw usage('--serial is a whole number above 0')
    return { serial: values.serial }
  }
  // Read here, so that a private key that is pasted where a public one belongs never leaves this machine.
  const publicKey = readGiven(values.key ?? '', '--key').trim()
  parsePublicKey(publicKey, '--key')
  return { publicKey }
}

export const commands: Record<string, Command> = { '': revoke }
