import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { callByFlags } from '../calls/call-by-flags.ts'
import { sayInForce, secondsToWait, WAIT_HELP, WAIT_OPTIONS, waiting } from '../calls/in-force.ts'
import { callAsPerson } from '../calls/session-call.ts'
import { requireSession } from '../context/context.ts'
import { folders } from '../context/folders.ts'
import { forgetSession } from '../session/forget-session.ts'
import { type Command, command, take, usage } from '../terminal/command.ts'
import { print, printJson, remark, shown, table } from '../terminal/terminal.ts'
import { local } from '../terminal/times.ts'

const list = command({
  help: `keyman session list: which sessions are open, newest first
usage: keyman session list [--person P | --everybody] [--json]

  --person P   another person's; it takes the role operator or administrator
  --everybody  those of all persons; the same

Of a machine LAST USED is its newest certificate, of a browser a request.
PROVEN BY is the passkey that was touched last in that session.
example:
  keyman session list --person alice@example.com`,
  options: { person: { type: 'string' }, everybody: { type: 'boolean' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    if (values.person !== undefined && values.everybody) throw usage('--person and --everybody: either, not both')
    const query = values.everybody
      ? ({ everybody: 'yes' } as const)
      : values.person === undefined
        ? {}
        : { person: parsePersonIdentity(values.person, '--person') }
    const answer = await callAsPerson(api.sessions.list, { query })
    if (values.json) printJson(answer)
    else {
      const rows = answer.sessions.map(session => [
        session.current ? `${session.id} (this one)` : session.id,
        session.person,
        session.kind === 'browser' ? 'a browser' : shown(session.device),
        session.from ?? 'not known',
        local(session.startedAt),
        local(session.lastUsedAt),
        local(session.endsAt),
        session.passkey ? shown(session.passkey.name) : 'a passkey that was removed',
      ])
      print(table(['SESSION', 'PERSON', 'DEVICE', 'FROM', 'STARTED', 'LAST USED', 'ENDS', 'PROVEN BY'], rows))
      if (answer.more)
        remark('There are more, and older ones: keyman session list --person P shows those of one person.')
    }
    return EXIT.done
  },
})

const end = command({
  help: `keyman session end: end one session, with its certificates
usage: keyman session end ID [--reason TEXT] [--wait 5 | --no-wait] [--json]

${WAIT_HELP}
  --reason TEXT      kept in the audit log; of another person's session

One's own needs no touch. Another person's takes the role operator or administrator; everything
that a person has ends by: keyman revoke --person P
Exit code 9: not every connected host has confirmed in time.
example:
  keyman session end session_Zq3v0dTn1mXw8LbK`,
  options: { ...WAIT_OPTIONS, reason: { type: 'string' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [id] = take(positionals, ['ID'])
    const wait = secondsToWait(values)
    const places = folders()
    const { context, session } = requireSession(places, new Date())
    const { deadline } = waiting(wait)
    const ofAnother = () =>
      callByFlags(
        api.revocations.create,
        {
          body: {
            target: { session: id },
            wait: wait ?? 0,
            ...(values.reason === undefined ? {} : { reason: values.reason }),
          },
          deadline,
        },
        { reason: '--reason' },
      )
    // One's own first, which needs no touch; of whatever is not, it takes a role.
    const answer = await callAsPerson(api.sessions.end, { params: { id }, ...waiting(wait) }).catch(
      (error: unknown) => {
        if (error instanceof KeymanError && error.code === 'not-found') return ofAnother()
        throw error
      },
    )
    const current = id === session.session
    if (current) await forgetSession(places, context)
    if (values.json) printJson(answer)
    else remark(`Ended the ${shown(answer.target)}.`)
    return sayInForce(answer, wait, values.json, current ? ['That was this one: keyman login signs in again.'] : [])
  },
})

export const commands: Record<string, Command> = { list, end }
