import { isEndedWithAll } from '#server/ledger/index.ts'
import { tokenFact, tokenId } from './facts.ts'
import type { HostsDeps, HostView } from './port.ts'
import { type HostRow, selectTokensOf, type TokenRow, viewOf } from './records.ts'

/** As they are shown: of one that can join no more by its token it is said what is to be done. */
export async function viewsOf(deps: HostsDeps, rows: readonly HostRow[]): Promise<HostView[]> {
  const invited = rows.flatMap(row => (row.joined ? [] : [row.id]))
  const tokens = new Map((await selectTokensOf(deps.store, invited)).map(token => [token.host, token]))
  const now = deps.now()
  return rows.map(row => {
    const view = viewOf(row, now)
    const why = row.joined ? undefined : whyNotGood(deps, row, tokens.get(row.id))
    return why === undefined
      ? view
      : { ...view, message: `${why}: keyman host remove ${row.name}, then keyman host add ${row.name}` }
  })
}

function whyNotGood({ ledger, now, mayAdd }: HostsDeps, host: HostRow, token: TokenRow | undefined) {
  if (!token || token.used || token.endsAt <= now() || !ledger.facts.holds(tokenFact(token)))
    return 'its join token has ended'
  if (token.maker === undefined) return undefined
  const isGood = mayAdd(token.maker, host.place) && !isEndedWithAll(ledger.facts, tokenId(token.hash), token.maker)
  return isGood ? undefined : 'whoever made its join token may not add hosts there any more, or was revoked since'
}
