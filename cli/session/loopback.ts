import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { toBase64Url, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'

/** The loopback redirect of RFC 8252 section 7.3: a listener on 127.0.0.1 that lives for one login and takes one answer. */
export type Loopback = {
  readonly redirectUri: string
  readonly state: string
  readonly codeVerifier: string
  readonly codeChallenge: string
  /** Resolves with the code; rejects with `denied` where the person said no. */
  readonly code: Promise<string>
  close(): void
}

export async function listenLoopback(): Promise<Loopback> {
  const state = toBase64Url(randomBytes(32))
  const codeVerifier = toBase64Url(randomBytes(32))
  // RFC 7636 section 4.2, S256 only.
  const codeChallenge = toBase64Url(createHash('sha256').update(codeVerifier).digest())
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  const code = new Promise<string>((resolve, reject) => {
    server.on('request', (request, response) => {
      // DNS rebinding: another name that leads here is not us. Anybody on this machine may send anything, so nothing is parsed
      // that could fail to. A wrong state is somebody else's answer: it changes nothing.
      const [path, query] = (request.url ?? '').split('?', 2)
      if (request.headers.host !== `127.0.0.1:${port}` || request.method !== 'GET' || path !== '/callback')
        return answer(response, 404, 'There is nothing here.')
      const parameters = new URLSearchParams(query)
      if (!sameState(parameters.get('state'), state))
        return answer(response, 400, 'This answer belongs to another login.')
      const received = parameters.get('code')
      if (received) {
        answer(response, 200, 'Signed in. You may close this tab and go back to the terminal.', () => resolve(received))
      } else {
        answer(response, 200, 'Refused; the terminal says why. You may close this tab.', () =>
          reject(refusal(parameters.get('error_description'))),
        )
      }
    })
  })
  code.catch(() => undefined)
  return {
    redirectUri: `http://127.0.0.1:${port}/callback`,
    state,
    codeVerifier,
    codeChallenge,
    code,
    close: () => {
      server.close()
      // Browsers open connections ahead of any request.
      server.closeAllConnections()
    },
  }
}

/** `why`: what the page heard from the server, in the characters that RFC 6749 section 4.1.2.1 allows. */
const refusal = (why: string | null): KeymanError =>
  why !== null && /^[\x20-\x21\x23-\x5b\x5d-\x7e]{1,200}$/.test(why)
    ? new KeymanError('denied', `the login was refused: ${why}`, { hint: 'ask an administrator' })
    : refusedInBrowser()

/** The person said no. */
export const refusedInBrowser = (): KeymanError =>
  new KeymanError('denied', 'the login was refused in the browser', {
    hint: 'nothing was changed; keyman login asks again',
  })

const sameState = (received: string | null, state: string): boolean => {
  const a = utf8(received ?? '')
  const b = utf8(state)
  return a.length === b.length && timingSafeEqual(a, b)
}

/** `then`: once the answer is on its way, so that closing the listener does not cut it. */
function answer(response: ServerResponse, status: number, text: string, then?: () => void): void {
  if (then) response.once('close', then)
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
    connection: 'close',
  })
  response.end(
    `<!doctype html><html lang="en"><meta name="color-scheme" content="light dark"><title>KeyMan</title><body style="font:1.1rem system-ui;display:grid;place-items:center;min-height:90vh"><p>${text}</p></body></html>`,
  )
}
