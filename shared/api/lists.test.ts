import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { allRoutes, type Route } from './index.ts'

/** Every list that a request can have, by its route and its path in the body. */
const lists = allRoutes.flatMap(({ id, body }) => (body ? listsOf(body, id).map(list => ({ body, ...list })) : []))
const twice = (value: unknown): unknown[] => [value, value]
/** One of these fits whatever a list of ours holds. */
const SAMPLES = [
  'prod',
  'web2.example.com',
  'alice@example.com',
  'host.read',
  '192.0.2.7',
  `ssh-ed25519 ${'A'.repeat(68)}`,
]
const SIGNATURE = '-----BEGIN SSH SIGNATURE-----'
const EVENT = { event: 'closed', number: 2, opened: 1, at: '2030-01-01T00:00:00Z' }

describe('a list of a request', () => {
  it.each(lists)('$path is refused with one thing twice where its document says so, and nowhere else', ({ list }) => {
    const sample = [...SAMPLES, SIGNATURE, EVENT].find(each => list.safeParse([each]).success)
    expect(sample).toBeDefined()
    const says = z.toJSONSchema(list, { io: 'input' }).uniqueItems === true
    expect(list.safeParse(twice(sample)).success).toBe(!says)
  })

  it.each([
    ['projects.add', { name: 'payments' }, 'environments', 'prod'],
    ['hosts.add', { name: 'web1.example.com' }, 'aliases', 'web2.example.com'],
    ['hosts.change', {}, 'addAliases', 'web2.example.com'],
    ['hosts.change', {}, 'removeAliases', 'web2.example.com'],
    ['roles.add', { name: 'deployer', of: 'place' }, 'actions', 'host.read'],
    ['roles.change', {}, 'add', 'host.read'],
    ['roles.change', {}, 'remove', 'host.read'],
  ])('of %s is refused by its name, and taken with it once (%#)', (id, rest, field, value) => {
    const { body } = routeOf(id)
    expect(body?.safeParse({ ...rest, [field]: [value] }).success).toBe(true)
    const issues = body?.safeParse({ ...rest, [field]: twice(value) }).error?.issues
    expect(issues).toEqual([
      expect.objectContaining({ path: [field], message: expect.stringMatching(/^must name .*once$/) }),
    ])
  })

  // Whoever adds a list says here that it may, or has it refused.
  it('may name something twice where that gives what once gives', () => {
    const free = lists.filter(({ list }) => z.toJSONSchema(list, { io: 'input' }).uniqueItems !== true)
    expect(free.map(({ path }) => path)).toEqual([
      'teams.addMembers.persons',
      'teams.removeMembers.persons',
      'grants.add.options.sourceAddress',
      'grants.change.options.sourceAddress',
      // They are numbered, each by the one after the one before.
      'hostSelf.reportLogins.events',
      // By the trust document, which is made from it and says the same: comments may differ.
      'trust.next.roots.keys',
      'trust.publish.signatures',
    ])
  })
})

function routeOf(id: string): Route {
  const found = allRoutes.find(route => route.id === id)
  if (!found) throw new Error(`there is no ${id}`)
  return found
}

function listsOf(schema: unknown, path: string): { path: string; list: z.ZodType }[] {
  if (schema instanceof z.ZodArray) return [{ path, list: schema }, ...listsOf(schema.element, path)]
  if (schema instanceof z.ZodObject)
    return Object.entries(schema.shape).flatMap(([key, field]) => listsOf(field, `${path}.${key}`))
  if (schema instanceof z.ZodUnion) return schema.options.flatMap(option => listsOf(option, path))
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  )
    return listsOf(schema.unwrap(), path)
  return []
}
