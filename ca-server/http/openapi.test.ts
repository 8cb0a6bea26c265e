import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { int8, uint64 } from '#shared/api/fields.ts'
import { allRoutes, api } from '#shared/api/index.ts'
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
