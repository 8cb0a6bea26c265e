import { z } from 'zod'
import { formatDuration } from '../durations.ts'
import { shown } from '../text.ts'

/**
 * What a request says, in words: for the page on which somebody touches a passkey for it. Made from the route's own schema, so
 * that no field can be missing: one without words is a mistake that is thrown, and a test asks every route.
 */
export type Line = { readonly name: string; readonly value: string }

/**
 * `text`: typed by somebody, and shown in quotes, so that it is not taken for words of ours. `secret`: by its length, and a digest
 * that only the server can make. `digest`: too long to be read here; what it holds is told by lines of its own.
 */
type How = 'plain' | 'text' | 'duration' | 'secret' | 'digest'
type Words = { readonly name: string; readonly how: How; readonly absent: string }

const words = z.registry<Words>()

/** The same schema with its words. `absent`: what it means where it is left out. */
export function named<Schema extends z.ZodType>(
  name: string,
  schema: Schema,
  { how = 'plain', absent = 'none' }: { how?: How; absent?: string } = {},
): Schema {
  const copy = schema.clone()
  words.add(copy, { name, how, absent })
  return copy
}

/** What it is called, where it has words. */
export const wordsOf = (schema: z.ZodType): string | undefined => words.get(schema)?.name

/** Every field of `value` in words. `digest` makes the digest of a secret. Throws a TypeError for a field that has none. */
export function inWords(schema: z.ZodType, value: unknown, digest: (secret: string) => string): Line[] {
  return walk(schema, value, undefined, '')

  function walk(at: z.ZodType, value: unknown, outer: Words | undefined, path: string): Line[] {
    const own = words.get(at) ?? outer
    if (at instanceof z.ZodOptional || at instanceof z.ZodDefault || at instanceof z.ZodPrefault) {
      const inner = at.unwrap()
      if (!(inner instanceof z.ZodType)) throw new TypeError(`${path}: no schema that has words`)
      if (value !== undefined) return walk(inner, value, own, path)
      return leavesOf(inner, own, path).map(({ name, absent }) => ({ name, value: absent }))
    }
    if (own) return [{ name: own.name, value: render(value, own.how) }]
    if (at instanceof z.ZodObject)
      return fieldsOf(at).flatMap(([key, field]) => walk(field, member(value, key), undefined, `${path}.${key}`))
    if (at instanceof z.ZodUnion) {
      const option = at.options.find(
        (option): option is z.ZodType => option instanceof z.ZodType && option.safeParse(value).success,
      )
      if (option) return walk(option, value, undefined, path)
    }
    throw new TypeError(`${path}: a field without words`)
  }

  /** The words of what is left out. */
  function leavesOf(at: z.ZodType, outer: Words | undefined, path: string): Words[] {
    const own = words.get(at) ?? outer
    if (own) return [own]
    if (at instanceof z.ZodObject)
      return fieldsOf(at).flatMap(([key, field]) => leavesOf(field, undefined, `${path}.${key}`))
    throw new TypeError(`${path}: a field without words`)
  }

  function render(value: unknown, how: How): string {
    if (how === 'secret' || how === 'digest') {
      const text = typeof value === 'string' ? value : JSON.stringify(value)
      return `${text.length} characters, digest ${digest(text)}`
    }
    // As a change says it: RFC 7396.
    if (value === null) return 'taken off'
    if (typeof value === 'boolean') return value ? 'yes' : 'no'
    if (typeof value === 'number') return how === 'duration' ? formatDuration(value) : String(value)
    // Nothing reaches the page that turns what stands around it about, or is not seen.
    if (typeof value === 'string') return shown(how === 'text' ? JSON.stringify(value) : value)
    if (Array.isArray(value)) return value.map(each => render(each, how)).join(', ') || 'none'
    if (typeof value === 'object' && value !== null)
      return (
        Object.entries(value)
          .map(([key, each]) => `${key}=${render(each, how)}`)
          .join(', ') || 'none'
      )
    throw new TypeError('a value without words')
  }
}

const fieldsOf = (schema: z.ZodObject): [string, z.ZodType][] =>
  Object.entries(schema.shape).map(([key, field]) => {
    if (!(field instanceof z.ZodType)) throw new TypeError(`${key}: no schema that has words`)
    return [key, field]
  })

const member = (value: unknown, key: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined
