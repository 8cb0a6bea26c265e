import type { z } from 'zod'
import { api, isActionName, type schemas } from '#shared/api/index.ts'
import { formatDuration } from '#shared/durations.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { optionsText, scopeText } from '#shared/grant-text.ts'
import { parsePlace, parseSubjectPrincipal, printable } from '#shared/names.ts'
import { hostArgument } from '../calls/host-argument.ts'
import { callAsPerson } from '../calls/session-call.ts'
import { contextOfHost, principalOf, requireSession } from '../context/context.ts'
import { folders } from '../context/folders.ts'
import { type Command, command, take, usage } from '../terminal/command.ts'
import { print, printJson, remark, shown } from '../terminal/terminal.ts'
import { local } from '../terminal/times.ts'

type Answer = z.infer<typeof schemas.decisionAnswer>

const why = command({
  help: `keyman why: as whom I get in to a host, and by which grant; if not, what is missing
usage: keyman why HOST [--person PERSON] [--json]
       keyman why --action ACTION [--in PLACE] [--person PERSON] [--json]

  HOST           its whole name, or the first part of it
  --action A     whether I may do what takes a role: keyman role list names them
  --in PLACE     where: payments, payments/prod; without it on the organisation
  --person P     of somebody else, or of workload:NAME; it takes the role operator or administrator

example:
  keyman why web1.prod.example.com
Exit code 0: there is a way in; 4: there is none.`,
  options: {
    action: { type: 'string' },
    in: { type: 'string' },
    person: { type: 'string' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    if (values.action !== undefined) return whyDo({ ...values, action: values.action }, positionals)
    if (values.in !== undefined) throw usage('--in belongs to --action')
    const [name] = take(positionals, ['HOST'])
    const host = await hostArgument(name, 'HOST')
    const query = {
      host,
      ...(values.person === undefined ? {} : { person: parseSubjectPrincipal(values.person, '--person') }),
    }
    const context = contextOfHost(folders(), host)
    const answer = await callAsPerson(api.access.why, { query }, context).catch(withHint)
    if (values.json) printJson(answer)
    else {
      for (const way of answer.allowed) {
        const limits = [
          `${formatDuration(way.maxLifetime)} at most`,
          way.endsAt ? `until ${local(way.endsAt)}` : '',
          optionsText(way.options),
        ].filter(Boolean)
        print(
          `${answer.person} gets in to ${answer.host} as ${way.login}, by ${way.grant} (${shown(way.via)}), ${limits.join(', ')}`,
        )
      }
      if (answer.allowed.length === 0) {
        print(`${answer.person} does not get in to ${answer.host}:`)
        for (const reason of answer.reasons) print(`  ${shown(reason)}`)
      }
    }
    if (!values.json) for (const line of whatIsMissing(answer, values.person)) remark(line)
    return answer.allowed.length > 0 ? EXIT.done : EXIT.denied
  },
})

type Asked = {
  readonly action: string
  readonly in?: string
  readonly person?: string
  readonly json?: boolean
}

async function whyDo(asked: Asked, positionals: readonly string[]): Promise<number> {
  take(positionals, [])
  const { action } = asked
  if (!isActionName(action)) throw usage(`--action: there is no action ${printable(action)}`, 'see keyman role list')
  const query = {
    action,
    ...(asked.in === undefined ? {} : { in: parsePlace(asked.in, '--in') }),
    ...(asked.person === undefined ? {} : { person: parseSubjectPrincipal(asked.person, '--person') }),
  }
  const answer = await callAsPerson(api.access.may, { query })
  if (asked.json) printJson(answer)
  else if (answer.allowed)
    print(`${answer.person} may ${action} on ${scopeText(answer.in)}, as ${shown(answer.roles.join('; '))}`)
  else for (const reason of answer.reasons) print(shown(reason))
  return answer.allowed ? EXIT.done : EXIT.denied
}

/** What keeps somebody out who is allowed in: the host, or this machine, which has not heard of it. */
function whatIsMissing(answer: Answer, other: string | undefined): string[] {
  const { host, hostState, lastSeenAt } = answer
  const away = lastSeenAt === undefined ? '' : ` since ${local(lastSeenAt)}`
  const ofHost = {
    invited: [`${host} has not joined yet: nobody gets in there by KeyMan until it has.`],
    away: [`${host} is away${away}: it goes by what it heard last, and hears of the rest when it comes back.`],
    failed: [`${host} says that it can not do what it should: ${shown(answer.message ?? 'it does not say why')}`],
    connected: [],
  }
  const { context, session } = requireSession(folders(), new Date(), contextOfHost(folders(), host))
  const isOwn = other === undefined || other === principalOf(session)
  const isKnown = context.hosts.some(known => known.name === host)
  const unheard = isOwn && answer.allowed.length > 0 && !isKnown
  return [
    ...(hostState === undefined ? [] : ofHost[hostState]),
    ...(answer.findings ?? []).map(({ message }) => `But on ${host}: ${shown(message)}.`),
    ...(unheard ? ['Your machine hears of it at the next renewal: keyman ssh renew. (ssh asks by itself.)'] : []),
  ]
}

/** Of oneself everybody may ask; the server's refusal says only that this is no such question. */
function withHint(error: unknown): never {
  if (!(error instanceof KeymanError) || error.code !== 'denied' || error.hint) throw error
  throw new KeymanError('denied', error.message, {
    hint: 'ask an administrator; keyman why HOST without --person says it of you',
  })
}

export const commands: Record<string, Command> = { '': why }
