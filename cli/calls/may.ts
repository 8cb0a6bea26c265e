import { type ActionName, api } from '#shared/api/index.ts'
import { isWorkload, requireSession } from '../context/context.ts'
import { folders } from '../context/folders.ts'
import { callAsPerson } from './session-call.ts'

/**
 * Whether whoever is signed in may do this, in any place at all: asked before what would be refused, since each refusal is recorded. Only
 * persons may ask; of a workload it is not known.
 */
export async function may(action: ActionName): Promise<boolean> {
  const { session } = requireSession(folders(), new Date())
  if (isWorkload(session)) return false
  const { allowed } = await callAsPerson(api.access.may, { query: { action, anywhere: 'yes' } })
  return allowed
}
