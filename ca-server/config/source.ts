/** Pure: where each value of the configuration came from. */

/** `{ pages: { listen: … } }` as `pages.listen`. Lists and dates stay whole. */
export function flatten(tree: object, prefix = ''): Map<string, unknown> {
  const flat = new Map<string, unknown>()
  for (const [key, value] of Object.entries(tree)) {
    const path = prefix + key
    if (typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)) {
      const inner = flatten(value, `${path}.`)
      // An empty table of an unknown name is reported too.
      if (inner.size === 0) flat.set(`${path}.`, undefined)
      for (const [innerPath, innerValue] of inner) flat.set(innerPath, innerValue)
    } else {
      flat.set(path, value)
    }
  }
  return flat
}

const KEY = String.raw`(?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*')`
const DOTTED = String.raw`${KEY}(?:\s*\.\s*${KEY})*`
const TABLE = new RegExp(String.raw`^\s*\[\[?\s*(${DOTTED})\s*\]`)
const ASSIGNMENT = new RegExp(String.raw`^\s*(${DOTTED})\s*=`)

/**
 * The line of the TOML text, from 1, where each path is set. A reader of lines, not of TOML: inside inline tables a path
 * is found by its table's line (`lineOf`), which is where a person looks anyway.
 */
export function linesOf(text: string): Map<string, number> {
  const lines = new Map<string, number>()
  const plain = (dotted: string) =>
    [...dotted.matchAll(new RegExp(KEY, 'g'))].map(m => m[0].replace(/^["']|["']$/g, '')).join('.')
  let prefix = ''
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    const table = TABLE.exec(line)?.[1]
    const key = table === undefined ? ASSIGNMENT.exec(line)?.[1] : undefined
    if (table !== undefined) {
      prefix = `${plain(table)}.`
      if (!lines.has(plain(table))) lines.set(plain(table), i + 1)
    } else if (key !== undefined && !lines.has(prefix + plain(key))) {
      lines.set(prefix + plain(key), i + 1)
    }
  }
  return lines
}

/** The line of a path, or of the table that it stands in. */
export function lineOf(lines: ReadonlyMap<string, number>, path: string): number | undefined {
  for (let at = path; at !== ''; at = at.slice(0, Math.max(0, at.lastIndexOf('.')))) {
    const line = lines.get(at)
    if (line !== undefined) return line
  }
  return undefined
}

export { editDistance, nearest } from '#shared/nearest.ts'
