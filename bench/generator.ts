import {
  type ApiPerson,
  type ApiSession,
  enrol,
  logIn,
  machinesConnection,
  type Target,
} from '#test/support/people/api-person.ts'
import { percentile } from './numbers.ts'
import { renewingUser, type User } from './renewing-user.ts'

/**
 * The load generator, a process of its own, so that its CPU is told apart from the server's. It holds the persons with their
 * passkeys and their machines' sessions, and does what the parent says, one thing after another.
 */
export type Command =
  | { readonly do: 'enrol'; readonly target: Target; readonly identity: string; readonly link: string }
  | Load
  | 'go'
export type Load = {
  readonly do: 'logins' | 'renewals'
  readonly connections: number
  /** Requests before anything is counted, so that what is compiled while it runs has been. At most ten seconds of them. */
  readonly warmUp: number
  /** Milliseconds, from when the parent has said `go`. */
  readonly measure: number
}
export type Answer = 'ready' | 'enrolled' | Result | { readonly error: string }
export type Result = {
  readonly count: number
  readonly failed: number
  /** Of the first failure. */
  readonly failure: string | undefined
  /** All in milliseconds. */
  readonly elapsed: number
  readonly p50: number
  readonly p99: number
  /** CPU seconds of this process while it measured. */
  readonly cpu: number
}

const MAX_WARM_UP = 10_000
let target: Target | undefined
let go: (() => void) | undefined
const persons: ApiPerson[] = []
const sessions: ApiSession[] = []

process.on('message', (command: Command) => {
  if (command === 'go') go?.()
  else void obey(command).catch(error => say({ error: error instanceof Error ? error.message : String(error) }))
})
process.on('disconnect', () => process.exit())
const say = (answer: Answer) => process.send?.(answer)

async function obey(command: Exclude<Command, 'go'>): Promise<void> {
  if (command.do === 'enrol') {
    target = command.target
    persons.push(await enrol(target, command.link, command.identity))
    say('enrolled')
    return
  }
  const users = command.do === 'logins' ? await loggingIn(command.connections) : await renewing(command.connections)
  await drive(users, MAX_WARM_UP, command.warmUp)
  const told = new Promise<void>(resolve => {
    go = resolve
  })
  say('ready')
  await told
  const before = process.cpuUsage()
  const result = await drive(users, command.measure)
  const { user, system } = process.cpuUsage(before)
  say({ ...result, cpu: (user + system) / 1e6 })
  for (const each of users) each.close()
}

/** All users at once, each one request after another, until time or count is reached and the last answer is there. */
async function drive(
  users: readonly User[],
  milliseconds: number,
  count = Number.POSITIVE_INFINITY,
): Promise<Omit<Result, 'cpu'>> {
  const started = performance.now()
  const end = started + milliseconds
  const times: number[] = []
  let failed = 0
  let failure: string | undefined
  await Promise.all(
    users.map(async user => {
      for (let from = performance.now(); from < end && times.length < count && failure === undefined; ) {
        const why = await user.once()
        const to = performance.now()
        if (why === undefined) times.push(to - from)
        else failed++
        failure ??= why
        from = to
      }
    }),
  )
  times.sort((a, b) => a - b)
  const elapsed = performance.now() - started
  return { count: times.length, failed, failure, elapsed, p50: percentile(times, 50), p99: percentile(times, 99) }
}

/** Whole logins: new keys, challenge, start, consent by a passkey on the page, token. By the CLI's own client, kept alive. */
async function loggingIn(connections: number): Promise<User[]> {
  return Promise.all(
    Array.from({ length: connections }, async (_, n): Promise<User> => {
      const connection = await machinesConnection(known())
      return {
        async once() {
          try {
            sessions.push(await logIn(known(), personOf(n), { connection }))
            return undefined
          } catch (error) {
            return error instanceof Error ? error.message : String(error)
          }
        },
        close: () => {},
      }
    }),
  )
}

/** Each connection renews a session of its own. */
async function renewing(connections: number): Promise<User[]> {
  while (sessions.length < connections) sessions.push(await logIn(known(), personOf(sessions.length)))
  return Promise.all(sessions.slice(-connections).map(renewingUser))
}

function personOf(n: number): ApiPerson {
  const person = persons[n % persons.length]
  if (!person) throw new Error('nobody was enrolled')
  return person
}

function known(): Target {
  if (!target) throw new Error('nobody was enrolled')
  return target
}
