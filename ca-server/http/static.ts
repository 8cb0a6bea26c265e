import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import type { Hono } from 'hono'
import type { EdgeEnv } from './request-info.ts'

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** The addresses that a person may open; each is served the one document, which shows what the address asks for. */
const PAGES = ['/', '/enrol', '/device', '/login/:transaction', '/confirm/:transaction']

/**
 * The built pages, read into memory once: a request's path chooses among known names and never becomes a file's path.
 * A folder that is not there serves nothing.
 */
export function serveStatic(app: Hono<EdgeEnv>, folder: string): void {
  const files = read(folder)
  for (const [name, { bytes, type }] of files)
    if (name !== 'index.html')
      app.get(`/${name}`, c =>
        // Names carry a digest of the content where the build puts one; the pages themselves are never cached.
        c.body(bytes, 200, {
          'content-type': type,
          'cache-control': /-[A-Z0-9]{8}\./.test(name) ? 'public, max-age=31536000, immutable' : 'no-cache',
        }),
      )
  const index = files.get('index.html')
  if (!index) return
  for (const page of PAGES) app.get(page, c => c.body(index.bytes, 200, { 'content-type': index.type }))
  // A person who mistypes an address is shown a page that says so; programs get a problem document.
  app.get('*', (c, next) =>
    c.req.header('accept')?.includes('text/html') && !c.req.path.startsWith('/v1/')
      ? Promise.resolve(c.body(index.bytes, 404, { 'content-type': index.type }))
      : next(),
  )
}

function read(folder: string): Map<string, { bytes: Uint8Array<ArrayBuffer>; type: string }> {
  const files = new Map<string, { bytes: Uint8Array<ArrayBuffer>; type: string }>()
  if (!existsSync(folder)) return files
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const type = TYPES[extname(name)]
    if (type) files.set(name, { bytes: new Uint8Array(readFileSync(join(folder, name))), type })
  }
  return files
}
