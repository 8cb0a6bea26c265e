import { describe, expect, it } from 'vitest'
import type { PersonSession, WorkloadSession } from '../context/context.ts'
import { overLines, sessionLines, soonOver } from './in-words.ts'

const now = new Date('2030-01-01T00:00:00Z')
const workload: WorkloadSession = {
  ...{ workload: 'payments/prod/backup', session: 'session_0123456789', keyIn: 'file' },
  ...{ startedAt: '2030-01-01T00:00:00Z', endsAt: '2030-04-01T00:00:00Z' },
  ...{ clientStartsAt: '2030-01-01T00:00:00Z', clientEndsAt: '2030-01-08T00:00:00Z' },
}
const person: PersonSession = {
  ...{ person: 'alice@example.com', owner: false, passkeys: 1, session: 'session_0123456789', keyIn: 'file' },
  ...{ startedAt: '2030-01-01T00:00:00Z', endsAt: '2030-01-01T08:00:00Z', clientEndsAt: '2030-01-01T08:00:00Z' },
}
const NEXT = 'ask for a new token (keyman workload token payments/prod/backup), then run keyman workload join'

describe('in words', () => {
  it("a workload's session has two ends, a person's has one", () => {
    const [first, second, ...more] = sessionLines(workload, now)
    expect(first).toMatch(/^ {2}session {6}ends in 90 d 0 h, 2030-0\d-\d\d .*, in any case$/)
    expect(second).toMatch(/^ {15}ends in 7 d 0 h, 2030-01-0\d .*, unless it is renewed before/)
    expect(more).toEqual([])
    expect(sessionLines({ ...workload, clientEndsAt: workload.endsAt }, now)).toHaveLength(1)
    expect(sessionLines(person, now)).toEqual([expect.stringMatching(/^ {2}session {6}ends in 8 h, /)])
  })
  it('of one that is over it is said what to do: nobody signs in as a workload', () => {
    const later = new Date('2030-02-01T00:00:00Z')
    expect(overLines(workload, later)).toEqual([
      expect.stringMatching(/^The session of workload:payments\/prod\/backup ended \(ended 24 d 0 h ago, /),
      `Next: ${NEXT}`,
    ])
    expect(overLines({ ...workload, endedByServer: '2030-01-02T00:00:00Z' }, now)).toEqual([
      'The server has ended the session of workload:payments/prod/backup: somebody ended it, or one of its keys was used elsewhere.',
      `Next: ${NEXT}`,
    ])
    expect(overLines(person, later)[1]).toBe('Next: keyman login')
  })
  it('of its last days it is said that no renewal helps', () => {
    expect(soonOver(workload, new Date('2030-03-22T00:00:00Z'))).toMatch(
      /^keyman: warning: the session of workload:payments\/prod\/backup ends in 10 d 0 h, .*, however often it is renewed; before that, ask for/,
    )
  })
})
