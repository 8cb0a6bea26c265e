import { z } from 'zod'
import { id, secondsUpTo, time } from '../fields.ts'
import { route } from '../route.ts'
import { named } from '../words.ts'

const machines = ['machines'] as const

/** What somebody asks for who works through a series of changes: see `mandated` in `route.ts`. */
export const mandate = z.object({ id, endsAt: time })

export const mandates = {
  begin: route({
    method: 'POST',
    path: '/v1/mandates',
    listeners: machines,
    caller: 'person',
    action: 'mandate.begin',
    touch: true,
    status: 201,
    summary:
      'Administer from this session without a touch for each change, for some minutes; some things want one all the same',
    body: z.strictObject({ lifetime: named('For', secondsUpTo(3600), { how: 'duration' }) }),
    answer: mandate,
  }),
  end: route({
    method: 'DELETE',
    path: '/v1/mandates',
    listeners: machines,
    caller: 'person',
    action: 'mandate.end',
    status: 204,
    ends: true,
    summary: 'End that before its time',
  }),
}
