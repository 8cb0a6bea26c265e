import { expect, it } from 'vitest'
import { parseHostName } from '#shared/names.ts'
import { HostClocks } from './clocks.ts'

const [one, two] = ['web1.example.com', 'web2.example.com'].map(name => parseHostName(name, 'test'))
const START = Date.UTC(2030, 0, 1)

it('the clocks of hosts go on by themselves: a jump of the server is seen without asking them', () => {
  let passed = 0
  const clocks = new HostClocks(() => passed)
  if (!one || !two) throw new Error('there are two')
  clocks.hear(one, new Date(START))
  clocks.hear(two, new Date(START + 120_000))
  passed = 3_600_000
  const later = START + 3_600_000
  expect(clocks.apart(new Date(later))).toEqual([0, 120])
  expect(clocks.apart(new Date(later + 3 * 86_400_000))).toEqual([-259_200, -259_080])
  // A host that says its time anew is taken by that, and one that was taken out counts no more.
  clocks.hear(two, new Date(later))
  expect(clocks.apart(new Date(later))).toEqual([0, 0])
  clocks.forgetUnless(host => host === two)
  expect(clocks.apart(new Date(later))).toEqual([0])
})
