import fc from 'fast-check'
import { expect, test } from 'vitest'
import { schemas } from '#shared/api/index.ts'
import { selects } from '#shared/host-selector.ts'
import { parseHostName, parsePlace } from '#shared/names.ts'
import { grantsOn } from './choosing.ts'
import type { LoginGrant, SelectableHost } from './port.ts'

const names = ['web1.example.com', 'web2.example.com', 'payments.example.com'].map(name => parseHostName(name, 'test'))
const places = ['payments', 'payments/prod', 'payments/dev', 'pay', 'prod'].map(place => parsePlace(place, 'test'))
const labels = fc.dictionary(fc.constantFrom('env', 'tier', 'in'), fc.constantFrom('prod', 'dev', 'payments'))
const someLabels = labels.filter(each => Object.keys(each).length > 0)

const host: fc.Arbitrary<SelectableHost> = fc.record(
  { name: fc.constantFrom(...names), labels, place: fc.constantFrom(...places) },
  { requiredKeys: ['name', 'labels'] },
)
const selector = fc.oneof(
  fc.record({ host: fc.constantFrom(...names) }),
  fc.record({ labels: someLabels }),
  fc.record({ in: fc.constantFrom(...places), labels: someLabels }, { requiredKeys: ['in'] }),
)
const grants = fc.array(selector, { maxLength: 30 }).map(all =>
  all.map((hosts, n): LoginGrant => {
    const made = {
      id: `grant_${String(n).padStart(10, '0')}`,
      createdAt: '2026-11-24T12:00:00Z',
      createdBy: 'operator',
    }
    const grant = schemas.grant.parse({
      ...{ ...made, who: 'alice@example.com', login: 'deploy', hosts, options: {}, maxLifetime: 60 },
    })
    if (grant.kind !== 'login') throw new Error(grant.kind)
    return grant
  }),
)

test('the grants that choose a host are those that do when each is asked, in their order', () => {
  fc.assert(
    fc.property(grants, fc.array(host, { minLength: 1 }), (all, hosts) => {
      for (const each of hosts) expect(grantsOn(all, each)).toEqual(all.filter(grant => selects(grant, each)))
    }),
  )
})

test('a grant by no label at all, which only a row could hold, chooses nothing', () => {
  const [none] =
    fc.sample(
      grants.filter(all => all.length > 0),
      1,
    )[0] ?? []
  if (!none) throw new Error('there is none')
  const [name = parseHostName('web1.example.com', 'test')] = names
  expect(grantsOn([{ ...none, hosts: { labels: {} } }], { name, labels: { env: 'prod' } })).toEqual([])
})
