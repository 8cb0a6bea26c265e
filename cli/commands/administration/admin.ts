import { api } from '#shared/api/index.ts'
import { parseDuration } from '#shared/durations.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { callByFlags } from '../../calls/call-by-flags.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { type Command, command, take, usage } from '../../terminal/command.ts'
import { printJson, remark } from '../../terminal/terminal.ts'
import { local } from '../../terminal/times.ts'

const admin = command({
  help: `keyman admin: administer for some minutes without a touch of the passkey for each change
usage: keyman admin [--for 10m] [--json]
       keyman admin --end

  --for 10m   for how long, an hour at most
  --end       end it now; logging out ends it too

One touch allows, from this session, every change of teams, grants, projects and hosts, and revoking.
Giving a role, owners, invitations, persons, passkeys and trust want a touch of their own all the same.
What is done by it stands in the audit log under its ID.

example:
  keyman admin --for 10m && ./name-all-hosts.sh; keyman admin --end`,
  options: { for: { type: 'string' }, end: { type: 'boolean' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    if (values.end) {
      if (values.for !== undefined) throw usage('--end goes with no --for')
      await callAsPerson(api.mandates.end)
      if (values.json) printJson({})
      else remark('Ended: each change wants a touch again.')
      return EXIT.done
    }
    const body = { lifetime: parseDuration(values.for ?? '10m', '--for') }
    const mandate = await callByFlags(api.mandates.begin, { body }, { lifetime: '--for' })
    if (values.json) printJson(mandate)
    else remark(`Until ${local(mandate.endsAt)} this session administers without a touch (${mandate.id}).`)
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { '': admin }
