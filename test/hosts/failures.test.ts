import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Hosts, HostsDeps } from '#server/hosts/index.ts'
import type { Store } from '#server/store/index.ts'
import { invalid } from '#shared/errors.ts'
import { parseHostName } from '#shared/names.ts'
import { type HostsServer, startHostsServer } from '#test/support/worlds/hosts-server.ts'
import { addJoined, connectHost, hostsBeside, spkiOf } from './hosts-beside.ts'

describe('what fails while hosts are connected', () => {
  const [web1, web2] = ['web1', 'web2'].map(name => parseHostName(`${name}.keyman.localhost`, 'name'))
  if (!web1 || !web2) throw new Error('no names')
  const away = new Error('the database is away')
  let server: HostsServer
  let hosts: Hosts | undefined
  let errors: unknown[] = []
  let broken = false

  beforeAll(async () => {
    server = await startHostsServer()
    await addJoined(server.services, [web1, web2])
  })
  afterAll(() => server?.close())
  afterEach(async () => {
    vi.useRealTimers()
    broken = false
    await hosts?.stop()
    server.setClock(0)
  })

  /** The same database until it breaks. */
  const fragile = (): Store => {
    const { store } = server.services
    const unlessBroken = <T>(work: () => Promise<T>) => (broken ? Promise.reject(away) : work())
    return {
      engine: store.engine,
      incarnation: store.incarnation,
      remarks: [],
      query: (sql, parameters, row) => unlessBroken(() => store.query(sql, parameters, row)),
      execute: (sql, parameters) => unlessBroken(() => store.execute(sql, parameters)),
      transaction: (options, work) => unlessBroken(() => store.transaction(options, work)),
      listen: (channel, heard) => store.listen(channel, heard),
      notify: (channel, payload) => unlessBroken(() => store.notify(channel, payload)),
      lock: (name, deadlineMs) => unlessBroken(() => store.lock(name, deadlineMs)),
      ping: () => unlessBroken(() => store.ping()),
      close: async () => {},
    }
  }
  const begin = async (change: Partial<HostsDeps> = {}): Promise<Hosts> => {
    errors = []
    hosts = await hostsBeside(server.services, { store: fragile(), onError: error => errors.push(error), ...change })
    await hosts.start()
    return hosts
  }

  it.each([
    ['a host that says hello', () => begin(), true],
    ['the state that it is to have', () => begin({ currentKrl: () => Promise.reject(away) }), false],
  ])(
    'with %s is told to the operator once, however many hosts it was for; they come back later',
    async (_, open, all) => {
      const started = await open()
      broken = all
      const { incarnation } = server.services.store
      const streams = [web1, web2].map(name => connectHost(started, name, incarnation))
      expect(await Promise.all(streams.map(({ closed }) => closed))).toEqual(['try again', 'try again'])
      expect(errors).toEqual([away])
    },
  )

  it('lets no host in by what was read more than five seconds ago, says why, and does so again once it can read', async () => {
    let clock = 0
    const started = await begin({ monotonic: () => clock })
    const resolved = () => started.resolveHost(web1, spkiOf(web1))
    clock = 5_000
    expect(resolved()).toMatchObject({ epochs: [{ subject: `host:${web1}` }] })
    broken = true
    await expect.poll(() => errors, { timeout: 5_000 }).toContain(away)
    clock = 20_000
    expect(resolved).toThrow(expect.objectContaining({ code: 'unavailable' }))
    broken = false
    await expect
      .poll(
        () => {
          try {
            return resolved()
          } catch (error) {
            return error
          }
        },
        { timeout: 5_000 },
      )
      .toMatchObject({ epochs: [{ subject: `host:${web1}` }] })
  })

  it('a stream whose end was not noticed gives way to the next one of its host', async () => {
    const started = await begin()
    const { incarnation } = server.services.store
    const lost = connectHost(started, web1, incarnation)
    const next = connectHost(started, web1, incarnation)
    expect(await lost.closed).toBe('this host has opened another stream')
    await next.inForce
    expect(await started.show(web1)).toMatchObject({ state: 'connected' })
  })

  it('in one closing socket keeps no other host from being looked at', async () => {
    let ahead = 0
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    const started = await begin({ now: () => new Date(Date.now() + ahead) })
    const { incarnation } = server.services.store
    let heard = 0
    const closing = connectHost(started, web1, incarnation, ({ type }) => {
      if (type === 'log') throw new Error('the socket is closing')
    })
    const other = connectHost(started, web2, incarnation, ({ type }) => {
      if (type === 'log') heard++
    })
    await Promise.all([closing.inForce, other.inForce])
    ahead = 61_000
    await server.services.ledger.append({ kind: 'denied', ...server.by() })
    await expect
      .poll(
        async () => {
          await vi.advanceTimersByTimeAsync(30_000)
          return heard
        },
        { timeout: 10_000 },
      )
      .toBe(1)
    expect(await closing.closed).toBe('the stream has ended')
    await expect
      .poll(async () => Date.parse((await started.show(web2)).lastSeenAt ?? '') - Date.now())
      .toBeGreaterThan(30_000)
    expect(errors).toEqual([])
  })

  it('a host that would have more persons than it can be told of is not named at all; with other labels it is', async () => {
    const started = await begin({
      assertFits: ({ labels }) => {
        if (labels.env === 'all') throw invalid('labels', 'too many')
      },
    })
    const name = parseHostName('web8.keyman.localhost', 'name')
    const add = (env: string) => started.add({ name, labels: { env }, port: 22, tokenLifetime: 60 }, server.by())
    await expect(add('all')).rejects.toMatchObject({ fields: [{ field: 'labels', message: 'too many' }] })
    expect((await add('one')).host.name).toBe(name)
  })
})
