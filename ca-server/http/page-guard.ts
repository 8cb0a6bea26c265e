import type { IncomingMessage } from 'node:http'
import { KeymanError } from '#shared/errors.ts'

/** What protects both listeners from other pages: host, origin and fetch metadata of each request, and the headers of each answer. */

/** Sent with every answer of the pages' listener; a route may only add to them. */
export function pageHeaders(publicUrl: string): Readonly<Record<string, string>> {
  return {
    // form-action stays 'none': consent is a fetch followed by location.assign, since form-action also blocks redirects.
    'content-security-policy': [
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "connect-src 'self'",
      "img-src 'self' data:",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "base-uri 'none'",
    ].join('; '),
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'permissions-policy':
      'publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), geolocation=(), microphone=(), payment=(), usb=()',
    'cache-control': 'no-store',
    ...(publicUrl.startsWith('https:') ? { 'strict-transport-security': 'max-age=31536000' } : {}),
  }
}

/**
 * Refuses what did not come from a page of ours: another Host (DNS rebinding to the loopback page), an unsafe method
 * without our Origin (cross-site request forgery), a request that another site's page made, unless it is somebody
 * following a link in a window of its own.
 */
export function pageGuard(publicUrl: string): (incoming: IncomingMessage) => KeymanError | undefined {
  const { host, origin } = new URL(publicUrl)
  return incoming => {
    const { headers, method, rawHeaders } = incoming
    if (headers.host !== host || occurrences(rawHeaders, 'host') !== 1) {
      return new KeymanError('denied', `this server answers to ${host} alone`, { hint: `open ${origin}/` })
    }
    const safe = method === 'GET' || method === 'HEAD'
    if (!safe && headers.origin !== origin) return new KeymanError('denied', `only pages of ${origin} may do this`)
    const site = headers['sec-fetch-site']
    if (site === undefined || site === 'same-origin' || site === 'none') return undefined
    const isNavigation = safe && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document'
    return isNavigation ? undefined : new KeymanError('denied', 'a page of another site asked for this')
  }
}

/**
 * Refuses what the page of another origin asks of the machines' listener: a browser which somebody has given a client certificate
 * may show it to whoever asks. Programs have no origin.
 */
export function machinesGuard(publicUrl: string): (incoming: IncomingMessage) => KeymanError | undefined {
  const { origin } = new URL(publicUrl)
  return ({ headers }) =>
    headers.origin === undefined || headers.origin === origin
      ? undefined
      : new KeymanError('denied', `only pages of ${origin} may do this`)
}

function occurrences(rawHeaders: readonly string[], name: string): number {
  let count = 0
  for (let i = 0; i < rawHeaders.length; i += 2) if (rawHeaders[i]?.toLowerCase() === name) count++
  return count
}
