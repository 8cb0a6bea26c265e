import { z } from 'zod'
import { RESERVED_ROLES, ROLE_ACTIONS, type RoleOf } from '../catalogue.ts'
import { eachOnce, roleName, time } from '../fields.ts'
import { route } from '../route.ts'
import { named } from '../words.ts'

const machines = ['machines'] as const

export const roleOf = z.enum(['organisation', 'place'], 'must be organisation or place')
const newName = roleName
  .refine(name => !RESERVED_ROLES.includes(name), {
    error: `must not be ${RESERVED_ROLES.join(', ')}: these are built in, or kept for later`,
  })
  .meta({ not: { enum: [...RESERVED_ROLES] } })

const NO_ACTION = 'must be actions that keyman role list names; making owners and trust is done by owners alone'
const someActions = z.array(z.enum(ROLE_ACTIONS.organisation, NO_ACTION)).max(100)
const EACH_ONCE = 'must name each action once'

export const newRole = z
  .strictObject({
    name: named('Role', newName),
    of: named('Is given for', roleOf),
    actions: named('May', eachOnce(someActions.min(1, 'must be at least one action'), EACH_ONCE)),
  })
  .superRefine(({ of, actions }, issues) => {
    const refused = actions.filter(action => !ROLE_ACTIONS[of].includes(action))
    if (refused.length > 0) issues.addIssue({ code: 'custom', path: ['actions'], message: notOf(of, refused) })
  })

/** Why a role of a place can't have these. */
export const notOf = (of: RoleOf, actions: readonly string[]): string =>
  `${actions.join(', ')} ${actions.length === 1 ? 'is' : 'are'} done to the organisation: no role of a ${of} has ${actions.length === 1 ? 'it' : 'them'}`

const holds = (list: string) => ({ required: [list], properties: { [list]: { minItems: 1 } } })
/** Its name and what it is given for stay as they are. */
export const roleChange = z
  .strictObject({
    add: named('May from now on', eachOnce(someActions, EACH_ONCE).default([]), { absent: 'nothing more' }),
    remove: named('May no more', eachOnce(someActions, EACH_ONCE).default([]), { absent: 'nothing' }),
  })
  .refine(({ add, remove }) => add.length + remove.length > 0, { error: 'must add or remove an action' })
  .meta({ anyOf: [holds('add'), holds('remove')] })
  .refine(({ add, remove }) => !add.some(action => remove.includes(action)), {
    error: 'must not both add and remove an action',
  })

export const role = z.object({
  name: roleName,
  of: roleOf,
  builtIn: z.boolean(),
  /** In the catalogue's order. */
  actions: z.array(z.string()),
  /** What it was made with and this release does not know or give any more: it gives nothing. */
  lapsed: z.array(z.string()),
  /** Of one that is not built in. */
  createdAt: time.optional(),
  createdBy: z.string().optional(),
})

const ofRole = z.object({ name: roleName })

export const roles = {
  list: route({
    method: 'GET',
    path: '/v1/roles',
    listeners: machines,
    caller: 'person',
    action: 'role.read',
    summary: 'All roles, those that are built in too, and what each may do',
    answer: z.object({ roles: z.array(role) }),
  }),
  add: route({
    method: 'POST',
    path: '/v1/roles',
    listeners: machines,
    caller: 'person',
    action: 'role.add',
    touch: true,
    status: 201,
    summary: 'Make a role of the organisation; it gives nobody anything before a grant gives it',
    body: newRole,
    answer: role,
  }),
  change: route({
    method: 'PATCH',
    path: '/v1/roles/{name}',
    params: ofRole,
    listeners: machines,
    caller: 'person',
    action: 'role.change',
    touch: true,
    summary: 'Change what a role may do, and so everybody who has it',
    body: roleChange,
    answer: role,
  }),
  remove: route({
    method: 'DELETE',
    path: '/v1/roles/{name}',
    params: ofRole,
    listeners: machines,
    caller: 'person',
    action: 'role.remove',
    touch: true,
    status: 204,
    summary: 'Take a role away that no grant gives',
  }),
}
