import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { int8, uint64 } from '#shared/api/fields.ts'
import { allRoutes, api, type Route } from '#shared/api/index.ts'
import { isAddressRange } from '#shared/ip-address.ts'
import { isHostName, isPersonIdentity } from '#shared/names.ts'
import { openApiDocument } from './openapi.ts'
import { MAX_BODY_BYTES } from './read-json.ts'

const operation = z.looseObject({
  operationId: z.string(),
  tags: z.array(z.string()).length(1),
  summary: z.string().min(8),
  description: z.string().min(10),
  servers: z.array(z.looseObject({ url: z.string() })).min(1),
  security: z.array(z.record(z.string(), z.array(z.string()))),
  parameters: z.array(
    z.looseObject({ name: z.string(), in: z.string(), required: z.boolean(), schema: z.looseObject({}) }),
  ),
})
const shape = z.looseObject({
  tags: z.array(z.object({ name: z.string(), description: z.string() })),
  paths: z.record(z.string(), z.record(z.string(), operation)),
})
const document = shape.parse(
  openApiDocument({ version: '1.2.3', machinesUrl: 'https://ca.example.com:4443', pagesUrl: 'https://ca.example.com' }),
)
const operations = Object.values(document.paths).flatMap(path => Object.values(path))
const named = (id: string) => {
  const found = operations.find(({ operationId }) => operationId === id)
  if (!found) throw new Error(`there is no ${id}`)
  return found
}
const parameter = (id: string, name: string) => named(id).parameters.find(each => each.name === name)

const routeNamed = (id: string): Route => {
  const found = allRoutes.find(route => route.id === id)
  if (!found) throw new Error(`there is no ${id}`)
  return found
}
const shapeOf = (schema: z.ZodType | undefined): Record<string, z.ZodType> =>
  schema instanceof z.ZodObject ? schema.shape : {}

const jsonSchema = z.looseObject({
  enum: z.array(z.unknown()).optional(),
  const: z.unknown().optional(),
  pattern: z.string().optional(),
  minLength: z.int().optional(),
  maxLength: z.int().optional(),
  minItems: z.int().optional(),
  uniqueItems: z.boolean().optional(),
  items: z.unknown().optional(),
  required: z.array(z.string()).optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
  not: z.unknown().optional(),
  allOf: z.array(z.unknown()).optional(),
  anyOf: z.array(z.unknown()).optional(),
  oneOf: z.array(z.unknown()).optional(),
})
/** As JSON Schema means it, of the keywords that are asked about here. */
function fits(schema: unknown, value: unknown): boolean {
  const is = jsonSchema.parse(schema)
  const field = (name: string): unknown =>
    typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
  const ofText =
    typeof value !== 'string' ||
    (value.length >= (is.minLength ?? 0) &&
      value.length <= (is.maxLength ?? Number.POSITIVE_INFINITY) &&
      new RegExp(is.pattern ?? '', 'u').test(value))
  const ofList =
    !Array.isArray(value) ||
    (value.length >= (is.minItems ?? 0) &&
      (is.uniqueItems !== true || new Set(value).size === value.length) &&
      value.every(item => is.items === undefined || fits(is.items, item)))
  return (
    ofText &&
    ofList &&
    (is.enum === undefined || is.enum.includes(value)) &&
    (is.const === undefined || is.const === value) &&
    (is.required ?? []).every(name => field(name) !== undefined) &&
    Object.entries(is.properties ?? {}).every(([name, of]) => field(name) === undefined || fits(of, field(name))) &&
    (is.not === undefined || !fits(is.not, value)) &&
    (is.allOf ?? []).every(each => fits(each, value)) &&
    (is.anyOf === undefined || is.anyOf.some(each => fits(each, value))) &&
    (is.oneOf === undefined || is.oneOf.filter(each => fits(each, value)).length === 1)
  )
}

describe('the OpenAPI document', () => {
  it('has every route, each with a tag that is described, and words of its own', () => {
    expect(operations.map(({ operationId }) => operationId).sort()).toEqual(allRoutes.map(({ id }) => id).sort())
    const tags = new Map(document.tags.map(({ name, description }) => [name, description]))
    for (const { tags: own } of operations) expect(tags.get(own[0] ?? '')).not.toBe(own[0])
  })

  it('names for each operation the listeners that serve it, and what callers show there', () => {
    expect(named('grants.add')).toMatchObject({
      servers: [{ url: 'https://ca.example.com:4443' }],
      security: [{ clientCertificate: [] }],
    })
    expect(named('signIn.complete')).toMatchObject({ servers: [{ url: 'https://ca.example.com' }], security: [] })
    expect(named('session.end')).toMatchObject({
      servers: [{ url: 'https://ca.example.com:4443' }, { url: 'https://ca.example.com' }],
      security: [{ clientCertificate: [] }, { cookie: [] }],
    })
  })

  it('says where an Origin is wanted, and which', () => {
    const schema = { const: 'https://ca.example.com' }
    expect(parameter('signIn.complete', 'Origin')).toMatchObject({ required: true, schema })
    expect(parameter('session.end', 'Origin')).toMatchObject({ required: false, schema })
    expect(parameter('login.show', 'Origin')).toBeUndefined()
    expect(parameter('grants.add', 'Origin')).toBeUndefined()
  })

  it('describes every part of a path, and the server checks it by the same schema', () => {
    for (const { id, path, params } of allRoutes) {
      const words = [...path.matchAll(/\{(\w+)\}/g)].map(([, word]) => word)
      expect(params instanceof z.ZodObject ? Object.keys(params.shape) : []).toEqual(words)
      for (const word of words)
        expect(parameter(id, word ?? '')).toMatchObject({ in: 'path', schema: { pattern: expect.any(String) } })
    }
    expect(api.grants.remove.params?.safeParse({ id: '../x' }).success).toBe(false)
    expect(api.grants.remove.params?.safeParse({ id: 'grant_0123456789' }).success).toBe(true)
  })

  it('asks for no text that no body would hold', () => {
    const most = (of: unknown): number[] =>
      typeof of === 'object' && of !== null
        ? Object.entries(of).flatMap(([key, value]) => (key === 'maxLength' ? [Number(value)] : most(value)))
        : []
    for (const { operationId, requestBody } of operations)
      expect(Math.max(0, ...most(requestBody)), operationId).toBeLessThan(MAX_BODY_BYTES)
    expect(most(named('trust.publish').requestBody)).toContain(40_000)
  })

  it('gives names their patterns and lengths, and numbers of an address their least and most', () => {
    expect(parameter('persons.show', 'identity')?.schema).toMatchObject({ type: 'string', maxLength: 128 })
    expect(parameter('auditTrail.list', 'limit')?.schema).toEqual({
      type: 'integer',
      minimum: 1,
      maximum: 1000,
    })
    expect(JSON.stringify(named('grants.add').requestBody)).toContain('"maxProperties":32')
  })

  it('has patterns that take what the server takes, and refuse what it refuses', () => {
    const pattern = (id: string, name: string) => new RegExp(String(parameter(id, name)?.schema.pattern), 'u')
    for (const text of ['alice@example.com', 'team:sre', 'a@b/c', 'A@b', 'a@', '@b', 'a@b@c', 'a b@c', 'a#@b'])
      expect(pattern('persons.show', 'identity').test(text)).toBe(isPersonIdentity(text))
    for (const text of [
      'web1',
      'web1.example.com',
      '10.0.0.1',
      '1.a',
      'a..b',
      '-a',
      'a-',
      'A',
      'a.',
      `${'a'.repeat(64)}.b`,
    ])
      expect(pattern('hosts.show', 'name').test(text)).toBe(isHostName(text))
  })

  it.each([
    ['projects.show', 'project', ['payments', 'payments/prod', 'a'.repeat(39), 'a'.repeat(40), 'Payments', '']],
    ['projects.removeEnvironment', 'environment', ['prod', 'a/b', 'prod/']],
    ['access.may', 'action', ['host.add', 'own-session.end', 'host.ad', '']],
  ])('says of %s, %s, what the server takes, and no more', (id, name, values) => {
    const { params, query } = routeNamed(id)
    const shape = { ...shapeOf(params), ...shapeOf(query) }
    const taken = values.map(value => shape[name]?.safeParse(value).success)
    expect(taken).toContain(true)
    expect(taken).toContain(false)
    expect(values.map(value => fits(parameter(id, name)?.schema, value))).toEqual(taken)
  })

  it.each([
    ['projects.add', [{ name: 'a/b' }, { name: 'a' }, { name: 'a', environments: ['b'] }]],
    ['projects.add', [{ name: 'a', environments: ['b/c'] }, { name: 'a', environments: ['b', 'b'] }, { name: 'b' }]],
    ['roles.change', [{}, { add: [] }, { add: [], remove: [] }, { add: ['host.read'] }]],
    ['roles.change', [{ remove: [] }, { add: [], remove: ['host.read'] }, { remove: ['host.read', 'host.read'] }]],
    [
      'roles.add',
      ['owner', 'admin', 'issuer', 'deployer'].map(name => ({ name, of: 'place', actions: ['host.read'] })),
    ],
    ['grants.add', ['owner', 'auditor'].map(role => ({ kind: 'role', who: 'a@b', role }))],
    ['passkeys.rename', [{ name: '' }, { name: 'a' }]],
  ])('says of the body of %s what the server takes, and no more (%#)', (id, values) => {
    const { body } = routeNamed(id)
    const taken = values.map(value => body?.safeParse(value).success)
    expect(taken).toContain(true)
    expect(taken).toContain(false)
    const { content } = z
      .object({ content: z.record(z.string(), z.object({ schema: z.unknown() })) })
      .parse(named(id).requestBody)
    expect(values.map(value => fits(content['application/json']?.schema, value))).toEqual(taken)
  })

  it('says what a machine may call itself: not like an address', () => {
    const { device } = shapeOf(routeNamed('login.start').body)
    const schema = device && z.toJSONSchema(device)
    const values = ['laptop', 'build-7.2.1', '192.0.2.7', 'at 192.0.2.7!', '2001:db8::1', '12:30', '12:30:01', 'Größe']
    const taken = values.map(value => device?.safeParse(value).success)
    expect(taken).toEqual([true, true, false, false, false, true, false, false])
    expect(values.map(value => fits(schema, value))).toEqual(taken)
  })

  it('says what a network looks like; that no bit is behind its prefix it can not say', () => {
    const patterns = [...JSON.stringify(named('grants.add').requestBody).matchAll(/"pattern":("(?:[^"\\]|\\.)*")/g)]
      .map(([, text]) => String(JSON.parse(text ?? '')))
      .filter(pattern => pattern.includes('12[0-8]') || pattern.includes('3[0-2]'))
    expect(patterns).toHaveLength(2)
    const fits = (text: string) => patterns.some(pattern => new RegExp(pattern, 'u').test(text))
    for (const network of ['10.0.0.0/8', '192.0.2.7/32', '2001:db8::/32', '::/0']) {
      expect(fits(network), network).toBe(true)
      expect(isAddressRange(network), network).toBe(true)
    }
    for (const none of ['00105cf4f/3', '10.0.0/8', '10.0.0.0/33', '2001:db8::/129', '::1::/64']) {
      expect(fits(none), none).toBe(false)
      expect(isAddressRange(none), none).toBe(false)
    }
    expect([fits('10.0.0.1/8'), isAddressRange('10.0.0.1/8')]).toEqual([true, false])
  })

  it.each([
    ['int8', int8, (1n << 63n) - 1n],
    ['uint64', uint64, (1n << 64n) - 1n],
  ] as const)('%s takes each number that its column holds, and none beyond', (_, schema, most) => {
    const takes = (text: string | bigint) => schema.safeParse(String(text)).success
    for (let places = 1n, n = most; n > 0n; places *= 10n, n /= 10n) {
      expect([takes(most - places + 1n), takes(n), takes(places)]).toEqual([true, true, true])
      expect([takes(most + places), takes(`0${n}`)]).toEqual([false, false])
    }
    expect(['', '-1', '+1', '1.0', '1e3', ' 1', '٣', `${most}0`].filter(takes)).toEqual([])
    expect(takes('0')).toBe(true)
  })
})
