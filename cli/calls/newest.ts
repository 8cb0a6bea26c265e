import { parseSubjectPrincipal } from '#shared/names.ts'
import { usage } from '../terminal/command.ts'
import { remark } from '../terminal/terminal.ts'
import { hostArgument } from './host-argument.ts'
import { parseTimeBefore } from './parse-time.ts'

/** The flags of lists of what happened, of which the newest are shown. */
export const NEWEST_OPTIONS = {
  host: { type: 'string' },
  person: { type: 'string' },
  since: { type: 'string' },
  until: { type: 'string' },
  limit: { type: 'string' },
} as const
type Flags = { readonly [Name in keyof typeof NEWEST_OPTIONS]?: string }

/** What is asked for by these flags. Throws `invalid-input` with the flag named. */
export async function newestQuery(values: Flags) {
  const limit = Number(values.limit ?? 100)
  if (!Number.isInteger(limit) || limit < 1 || limit > 1000) throw usage('--limit is a number from 1 to 1000')
  const time = (name: 'since' | 'until') => {
    const text = values[name]
    return text === undefined ? undefined : parseTimeBefore(text, `--${name}`, new Date())
  }
  return {
    limit,
    since: time('since'),
    until: time('until'),
    person: values.person === undefined ? undefined : parseSubjectPrincipal(values.person, '--person'),
    host: values.host === undefined ? undefined : await hostArgument(values.host, '--host'),
  }
}

/** Where as many came as were asked for. */
export function remarkOnMore(shown: number, limit: number): void {
  if (shown === limit)
    remark(`These are the newest ${limit}; there may be more of them: --limit, at most 1000, or an earlier --until`)
}
