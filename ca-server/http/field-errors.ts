import type { z } from 'zod'
import type { FieldError } from '#shared/errors.ts'

const MOST = 20
/** What a key of ours may look like. Secrets are 43 characters: one in the place of a key comes back to nobody. */
const KEY = /^[A-Za-z][A-Za-z0-9_.-]{0,31}$/

/**
 * What a schema found wrong, by paths such as `hosts.labels`, `roots.keys[0]`. Messages of zod name what is expected, never
 * the value; keys that the sender made up are named only where they look like keys.
 */
export function fieldErrors(error: z.ZodError, where: string): FieldError[] {
  return error.issues.slice(0, MOST).map(issue => ({
    field: issue.path.map(part).join('') || where,
    message:
      issue.code === 'unrecognized_keys'
        ? `there is no field ${issue.keys.slice(0, MOST).map(shown).join(', ')}`
        : issue.message,
  }))
}

const part = (key: PropertyKey, i: number): string =>
  typeof key === 'number' ? `[${key}]` : `${i ? '.' : ''}${shown(String(key))}`
const shown = (key: string): string => (KEY.test(key) ? key : '…')
