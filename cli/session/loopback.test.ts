import { createHash } from 'node:crypto'
import { request } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { toBase64Url } from '#shared/bytes.ts'
import { type Loopback, listenLoopback } from './loopback.ts'

let open: Loopback
afterEach(() => open.close())

function get(path: string, options: { host?: string; method?: string } = {}) {
  const { port } = new URL(open.redirectUri)
  return new Promise<{ status: number | undefined; text: string; headers: NodeJS.Dict<string | string[]> }>(
    (resolve, reject) => {
      const call = request(
        {
          host: '127.0.0.1',
          port,
          path,
          method: options.method ?? 'GET',
          headers: options.host === undefined ? {} : { host: options.host },
        },
        response => {
          let text = ''
          response.setEncoding('utf8').on('data', (chunk: string) => {
            text += chunk
          })
          response.on('end', () => resolve({ status: response.statusCode, text, headers: response.headers }))
        },
      )
      call.on('error', reject)
      call.end()
    },
  )
}
const settled = () =>
  Promise.race([
    open.code.then(
      () => 'settled',
      () => 'settled',
    ),
    Promise.resolve('waiting'),
  ])

describe('the loopback listener of a login', () => {
  it('listens on 127.0.0.1 alone, and its challenge is that of its verifier (RFC 7636, S256)', async () => {
    open = await listenLoopback()
    expect(open.redirectUri).toMatch(/^http:\/\/127\.0\.0\.1:[0-9]+\/callback$/)
    expect(open.codeChallenge).toBe(toBase64Url(createHash('sha256').update(open.codeVerifier).digest()))
    expect(open.state).toMatch(/^[A-Za-z0-9_-]{43}$/)
  })
  it('takes the code that comes with its own state', async () => {
    open = await listenLoopback()
    const { status, text, headers } = await get(`/callback?code=abc&state=${open.state}`)
    expect(status).toBe(200)
    expect(text).toContain('You may close this tab')
    expect(headers['content-security-policy']).toContain("default-src 'none'")
    expect(headers['referrer-policy']).toBe('no-referrer')
    expect(await open.code).toBe('abc')
  })
  it('takes no code of another login: login CSRF', async () => {
    open = await listenLoopback()
    for (const state of ['', '&state=', '&state=x', `&state=${'A'.repeat(43)}`])
      expect((await get(`/callback?code=abc${state}`)).status).toBe(400)
    expect(await settled()).toBe('waiting')
  })
  it('answers to no other name than its own: DNS rebinding', async () => {
    open = await listenLoopback()
    for (const host of ['evil.example', 'localhost', '127.0.0.1'])
      expect((await get(`/callback?code=abc&state=${open.state}`, { host })).status).toBe(404)
    expect(await settled()).toBe('waiting')
  })
  it('knows no other path and no other method', async () => {
    open = await listenLoopback()
    expect((await get(`/?code=abc&state=${open.state}`)).status).toBe(404)
    expect((await get(`/callback?code=abc&state=${open.state}`, { method: 'POST' })).status).toBe(404)
    expect(await settled()).toBe('waiting')
  })
  it('stands up to any address that a page or a local process sends; the login goes on', async () => {
    open = await listenLoopback()
    const { origin, port } = new URL(open.redirectUri)
    for (const path of ['//', '///', '//[', `${origin}:x/`, 'http://[', '*', `//127.0.0.1:${port}/callback?code=abc`]) {
      expect((await get(path)).status, path).toBe(404)
      expect((await get(path, { host: 'evil.example' })).status, path).toBe(404)
    }
    for (const query of ['', '?', '?%', '?state=%ff', '??&&=&'])
      expect((await get(`/callback${query}`)).status, query).toBe(400)
    expect(await settled()).toBe('waiting')
    await get(`/callback?code=abc&state=${open.state}`)
    expect(await open.code).toBe('abc')
  })
  it('hears that the person said no', async () => {
    open = await listenLoopback()
    await get(`/callback?error=access_denied&state=${open.state}`)
    await expect(open.code).rejects.toThrow('the login was refused in the browser')
  })
  it('hears why the server refused, in the characters of RFC 6749 alone', async () => {
    open = await listenLoopback()
    await get(`/callback?error=access_denied&error_description=bob%40example.com+is+disabled&state=${open.state}`)
    await expect(open.code).rejects.toThrow('the login was refused: bob@example.com is disabled')
    for (const strange of ['%1b%5b2J', '', 'a%0Ab', 'a'.repeat(201)]) {
      open.close()
      open = await listenLoopback()
      await get(`/callback?error=access_denied&error_description=${strange}&state=${open.state}`)
      await expect(open.code).rejects.toThrow('the login was refused in the browser')
    }
  })
})
