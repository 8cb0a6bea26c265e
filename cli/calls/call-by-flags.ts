import type { Route } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { CallInput } from '../server/client.ts'
import { usage } from '../terminal/command.ts'
import { callAsPerson } from './session-call.ts'

/** What a field of the API is called on the command line: `maxLifetime` is `--max`. Fields within go by the one they are in. */
export type Flags = Readonly<Record<string, string>>

/**
 * `callAsPerson` with a body that a person typed. What does not fit the route's schema is refused before anything is asked
 * of the server; that refusal, and one of the server's about a field, name the flag and say what is wrong once.
 */
export async function callByFlags<Query, Body, Answer>(
  route: Route<Query, Body, Answer>,
  { body: given, ...input }: Omit<CallInput<Query, Body>, 'body'> & { readonly body: unknown },
  flags: Flags,
): Promise<Answer> {
  const body = route.body?.safeParse(given)
  const issue = body?.error?.issues[0]
  if (issue) throw usage(`${flagOf(issue.path.join('.'), flags)}: ${issue.message}`)
  try {
    return await callAsPerson(route, body?.success ? { ...input, body: body.data } : input)
  } catch (error) {
    const [refused] = error instanceof KeymanError && error.code === 'invalid-input' ? error.fields : []
    if (!(error instanceof KeymanError) || !refused) throw error
    throw usage(`${flagOf(refused.field, flags)}: ${refused.message}`, error.hint)
  }
}

/** Pure: the flag of a field such as `options.sourceAddress[0]`; the field itself where it is no flag's. */
export function flagOf(field: string, flags: Flags): string {
  for (let name = field; name !== ''; name = name.replace(/(^|[.[])[^.[]*$/, '')) {
    const flag = Object.hasOwn(flags, name) ? flags[name] : undefined
    if (flag !== undefined) return flag
  }
  return field
}
