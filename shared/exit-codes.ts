/** What the programs answer with; the one table, from which the table in `docs/errors.md` is made. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  notSignedIn: 3,
  denied: 4,
  waits: 5,
  notFound: 6,
  conflict: 7,
  unreachable: 8,
  found: 9,
  interrupted: 130,
} as const

export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  done: 'done; for a check: as it should be',
  failed: 'failed for a reason of its own, told on stderr',
  usage: 'wrong usage',
  notSignedIn: 'not signed in, or the session has ended',
  denied: "denied, with the decision's reason",
  waits: "waits for somebody's approval or for a touch of a passkey",
  notFound: 'no such thing',
  conflict: 'conflict: exists already, or was changed meanwhile',
  unreachable: 'server not reached, in time or at all',
  found: 'a check found something: status --check, doctor, audit verify, check-config (the output says what)',
  interrupted: 'interrupted; nothing half done is left',
}
