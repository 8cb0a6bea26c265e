import type { Logins, LoginsDeps, LoginView } from './port.ts'
import { countEnded, deleteOld, type LoginRow, selectLogins } from './records.ts'
import { reportLogins } from './report-logins.ts'

export function createLogins(deps: LoginsDeps): Logins {
  const { store, now } = deps
  return {
    report: (caller, report, at) => reportLogins(deps, caller, report, at),
    list: async filter => (await selectLogins(store, filter)).map(viewOf),
    endedBy: order => countEnded(store, order.toString()),
    sweep: fence =>
      store.transaction({ name: 'sweep host logins', deadlineMs: 30_000 }, async t => {
        await deleteOld(t, now())
        await fence(t)
      }),
  }
}

const viewOf = (row: LoginRow): LoginView => ({
  host: row.host,
  login: row.login,
  method: row.method,
  ...(row.subject === null ? {} : { who: row.subject }),
  ...(row.keyId === null ? {} : { keyId: row.keyId }),
  ...(row.serial === null ? {} : { serial: row.serial }),
  ...(row.authority === null ? {} : { authority: row.authority }),
  ...(row.key === null ? {} : { key: row.key }),
  ...(row.recorded === null ? {} : { recorded: row.recorded }),
  address: row.address,
  port: row.port,
  openedAt: row.openedAt.toISOString(),
  ...(row.closedAt === null ? {} : { closedAt: row.closedAt.toISOString() }),
  ended: row.endedBy !== null,
})
