import { type ActionName, api } from '#shared/api/index.ts'
import { callAsPerson } from './session-call.ts'

/** Whether whoever is signed in may do this, in any place at all: asked before what would be refused, since each refusal is recorded. */
export const may = (action: ActionName): Promise<boolean> =>
  callAsPerson(api.access.may, { query: { action, anywhere: 'yes' } }).then(({ allowed }) => allowed)
