import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { allRoutes, type Route } from '#shared/api/index.ts'
import { pageCall } from '#test/support/people/api-person.ts'
import { pathOf, type RouteInput, routeInputs } from '#test/support/route-inputs.ts'
import {
  type AttackWorld,
  type JoinedHost,
  joinHost,
  machineCall,
  openAttackWorld,
} from '#test/support/worlds/attack-world.ts'

/** Numbers at and past the edges of what there is room for, and lists with one thing twice, in the place of every parameter of every route. */

let world: AttackWorld
let host: JoinedHost
let inputs: Record<string, RouteInput>
beforeAll(async () => {
  world = await openAttackWorld()
  host = await joinHost(world, 'web1.keyman.localhost')
  inputs = routeInputs(world, host)
})
afterAll(() => world?.close())

const EDGES = [
  ...['-1', '0', '1', '00', '01', '+1', ' 1', '1 ', '1.0', '1e3', '0x10', '0b1', '1_000', '1n', '', 'NaN', 'Infinity'],
  ...['-0', '٣', '2147483647', '2147483648', '-2147483649', '4294967296', '9007199254740992', '9223372036854775807'],
  ...['9223372036854775808', '18446744073709551615', '18446744073709551616', '9'.repeat(100), '9'.repeat(5_000)],
]
const NUMBERS = [-1, 0, 0.5, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 63, 1e308, -1e308]
const ROUTES = allRoutes.filter(each => !['session.end', 'revocations.own'].includes(each.id))

async function ask(route: Route & { id: string }, input: RouteInput): Promise<{ status: number; code?: string }> {
  const path = pathOf(route.path, input)
  const body = input.body === undefined ? {} : { body: input.body }
  if (!route.listeners.includes('machines')) {
    const { status, problem } = await pageCall(world.server, { ...route, path }, body)
    return { status, ...(problem && { code: problem.code }) }
  }
  const as = route.caller === 'host' ? host.connection : world.alice.connection
  return machineCall(as, route.method, path, body)
}
const shapeOf = (schema: z.ZodType | undefined): string[] =>
  schema instanceof z.ZodObject ? Object.keys(schema.shape) : []
const queryOf = (input: RouteInput) => Object.fromEntries(new URLSearchParams(input.query ?? ''))

describe('the edges of numbers break nothing', () => {
  it('in each part of each path', async () => {
    for (const route of ROUTES)
      for (const [, name = ''] of route.path.matchAll(/\{(\w+)\}/g))
        for (const edge of EDGES) {
          const input = inputs[route.id] ?? {}
          const { status } = await ask(route, { ...input, params: { ...input.params, [name]: edge } })
          expect([route.id, name, edge, status < 500]).toEqual([route.id, name, edge, true])
        }
  })

  it('in each parameter of each query', async () => {
    for (const route of ROUTES)
      for (const name of shapeOf(route.query))
        for (const edge of EDGES) {
          const input = inputs[route.id] ?? {}
          const query = `?${new URLSearchParams({ ...queryOf(input), [name]: edge })}`
          const { status } = await ask(route, { ...input, query })
          expect([route.id, name, edge, status < 500]).toEqual([route.id, name, edge, true])
        }
  })

  it('in each list of each body, with one thing in it twice', async () => {
    for (const route of ROUTES)
      for (const [name, list] of Object.entries(route.body instanceof z.ZodObject ? route.body.shape : {})) {
        const input = inputs[route.id] ?? {}
        const value = ['prod', 'w1.keyman.localhost', 'bob@example.com', 'host.read'].find(
          each => list.safeParse([each]).success,
        )
        if (value === undefined) continue
        const body = { ...(typeof input.body === 'object' ? input.body : {}), [name]: [value, value] }
        const { status } = await ask(route, { ...input, body })
        expect([route.id, name, status < 500]).toEqual([route.id, name, true])
      }
  })

  it('in each field of each body, as a number', async () => {
    for (const route of ROUTES)
      for (const name of shapeOf(route.body))
        for (const edge of NUMBERS) {
          const input = inputs[route.id] ?? {}
          const body = { ...(typeof input.body === 'object' ? input.body : {}), [name]: edge }
          const { status } = await ask(route, { ...input, body })
          expect([route.id, name, edge, status < 500]).toEqual([route.id, name, edge, true])
        }
  })
})

describe('a number in an address is decimal digits within its range, and nothing else', () => {
  const status = async (path: string) => (await machineCall(world.alice.connection, 'GET', path)).status
  it.each([
    ['/v1/trust?after=', '2147483647', ['2147483648', '1e3', '0x1', '+1', ' 1', '01', '1.0', '-1', '']],
    ['/v1/audit/records?limit=', '1000', ['1001', '0', '1e2', '0x10', '10 ', '']],
    ['/v1/audit/records?from=', '9223372036854775807', ['9223372036854775808', '1e3', '-1', '00', '']],
    ['/v1/audit/records?before=', '9223372036854775807', ['9223372036854775808', '1e3', '-1', '00']],
    ['/v1/audit/records/', '0', ['9223372036854775808', '1e0', '-0', '00', '0x0']],
    ['/v1/audit/consistency?to=1&from=', '1', ['9223372036854775808', '1e0', '01']],
  ])('%s%s is taken', async (path, good, bad) => {
    expect(await status(`${path}${encodeURIComponent(good)}`)).toBe(200)
    for (const edge of bad) expect([edge, await status(`${path}${encodeURIComponent(edge)}`)]).toEqual([edge, 400])
  })
})

it('a time in the last year that there is, is taken; past it by its offset it is refused', async () => {
  const add = async (endsAt: string) => {
    const body = { who: 'bob@example.com', login: 'last', hosts: { labels: { env: 'prod' } }, endsAt }
    return (await machineCall(world.alice.connection, 'POST', '/v1/grants', { body })).status
  }
  expect(await add('9999-12-31T23:59:59Z')).toBe(201)
  expect(await add('9999-12-31T23:59:59-12:00')).toBe(400)
})
