import type { JsonValue } from '../canonical-json.ts'

/**
 * Pure: the project or environment that something is in, by what is said of it: the ID of that place's fact; of an environment its project's.
 *
 * Places go by their names, and a name is free again once its place was removed. A place is said to be there once, by the record that makes
 * it, and whatever is in it is said later. So what was said before that is of the place of this name that was there before, whatever somebody
 * hid when that was removed: it is in no place that there is, and counts for nothing.
 */
export function placeIdOf(id: string, is: JsonValue): string | undefined {
  const name = nameOf(id, is)
  return typeof name === 'string' ? `place:${name}` : undefined
}

function nameOf(id: string, is: JsonValue): JsonValue | undefined {
  if (id.startsWith('host:')) return member(is, 'place')
  if (id.startsWith('grant:')) return member(is, 'in') ?? member(member(is, 'hosts'), 'in')
  if (id.startsWith('workload:')) return within(member(is, 'name'))
  return id.startsWith('place:') ? within(id.slice('place:'.length)) : undefined
}

/** Whose name this is the first part of. */
const within = (name: JsonValue | undefined): string | undefined =>
  typeof name === 'string' && name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : undefined

function member(of: JsonValue | undefined, key: string): JsonValue | undefined {
  if (typeof of !== 'object' || of === null || isList(of)) return undefined
  return Object.hasOwn(of, key) ? of[key] : undefined
}

// Array.isArray does not narrow a readonly array away.
const isList = (value: JsonValue): value is readonly JsonValue[] => Array.isArray(value)
