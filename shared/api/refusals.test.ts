import { describe, expect, it } from 'vitest'
import { label, reason, secondsUpTo, who } from './fields.ts'
import { grantOptions, newGrant } from './resources/grants.ts'
import { newHost } from './resources/hosts.ts'
import { teams } from './resources/teams.ts'
import { mandates } from './resources/touches.ts'

const grant = { who: 'alice@example.com', login: 'deploy', hosts: { labels: { env: 'prod' } } }

describe('a refusal of the API', () => {
  it.each([
    [secondsUpTo(7 * 86_400), 900 * 86_400, 'must be at most 7d'],
    [secondsUpTo(3600), 0, 'must be at least 1s'],
    [mandates.begin.body, { lifetime: 3601 }, 'must be at most 1h'],
    [teams.addMembers.body, { persons: Array(201).fill('alice@example.com') }, 'must be at most 200 persons'],
    [teams.addMembers.body, { persons: [] }, 'must name a person'],
    [label, '', 'must be one line of printable text, 1 to 80 characters'],
    [label, '\n'.repeat(100), 'must be one line of printable text, 1 to 80 characters'],
    [reason, '', 'must be one line of printable text, 1 to 200 characters'],
    [who, 'sre', 'must be a person such as alice@example.com, team:NAME or workload:PLACE/NAME (lower case)'],
    [newHost, { name: 'web1.example.com', address: 'a b' }, 'must be an IP address or an exact DNS name'],
    [newGrant, { ...grant, maxLifetime: 900 * 86_400 }, 'must be at most 7d'],
    [grantOptions, { forceCommand: '' }, 'must be 1 to 500 characters of printable ASCII without ", \\ and #'],
    [grantOptions, { sourceAddress: [] }, 'must be at least one address or network'],
    [
      grantOptions,
      { sourceAddress: ['x'.repeat(65)] },
      'must be an address, or a network such as 10.0.0.0/8 with no bit behind its prefix',
    ],
  ])('says once and in words for people what a value must be (%#)', (schema, value, words) => {
    expect(schema?.safeParse(value).error?.issues.map(issue => issue.message)).toEqual([words])
  })
})
