import { isEndedWithAll } from '#server/ledger/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { decodePublicKey, fingerprint } from '#shared/ssh/index.ts'
import type { OpenSession, SessionList } from '../port.ts'
import { personFact, sessionFact, sessionId } from '../records/facts.ts'
import { type SessionRow, selectOpenSessions, selectUseOfSessions } from '../records/session-records.ts'
import { vouchedSession } from '../records/vouched.ts'
import type { Room } from '../room.ts'

/** Somebody reads them, one by one. */
const MOST_LISTED = 500

/** Sessions as they are shown. What the log does not vouch for is no session, and is left out. */
export function createSessionList(room: Room): SessionList {
  const { store, ledger, now } = room.deps
  return {
    async list(person) {
      let found = 0
      const read = async () => {
        const rows = await selectOpenSessions(store, { person, limit: MOST_LISTED + 1 }, now())
        found = rows.length
        return rows
      }
      const rows = await ledger.vouched(read, row => [sessionFact(row), personFact({ ...row, identity: row.person })])
      const { facts } = ledger
      const isOpen = ({ id, person: whose }: SessionRow) =>
        (person === undefined || whose === person) &&
        !facts.isGone(sessionId(id)) &&
        !isEndedWithAll(facts, sessionId(id), whose)
      const open = rows.filter(isOpen).slice(0, MOST_LISTED)
      const uses = new Map(
        (
          await selectUseOfSessions(
            store,
            open.map(({ id }) => id),
          )
        ).map(use => [use.session, use]),
      )
      const sessions = open.map((row): OpenSession => {
        const use = uses.get(row.id)
        return {
          id: row.id,
          person: row.person,
          kind: row.kind,
          device: row.device,
          ...(use?.from === undefined ? {} : { from: use.from }),
          startedAt: row.startedAt,
          endsAt: row.endsAt,
          lastUsedAt: use?.lastUsedAt ?? row.startedAt,
          ...(row.passkey === undefined || use?.passkeyName === undefined
            ? {}
            : { passkey: { id: row.passkey, name: use.passkeyName } }),
        }
      })
      return { sessions, more: found > MOST_LISTED }
    },

    async find(id, person) {
      const row = await vouchedSession(room, id)
      if (!row || row.endsAt <= now() || (person !== undefined && row.person !== person)) throw noSuchSession(person)
      const { person: whose, device, sshKey } = row
      const key = sshKey && fingerprint(decodePublicKey(sshKey))
      return { id, person: whose, device, ...(key === undefined ? {} : { sshKey: key }) }
    },
  }
}

const noSuchSession = (person: PersonIdentity | undefined) =>
  new KeymanError(
    'not-found',
    person === undefined ? 'no such session is open' : 'you have no such session that is open',
    {
      hint: 'see keyman session list',
    },
  )
