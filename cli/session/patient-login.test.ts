import { once } from 'node:events'
import { createServer as createHttp } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { api } from '#shared/api/index.ts'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import type { Context } from '../context/context.ts'
import { call } from '../server/client.ts'
import { signIn } from './login.ts'

const authority = newMachineAuthority()
const problem = (status: number, code: string, detail: string, more = {}) => ({
  status,
  document: { type: `/errors/${code}`, title: code, status, code, detail, requestId: 'req_1', ...more },
})

/** A server whose keystore is away: what it says to each request for a login's token, one after the other. */
describe('a login whose server cannot sign yet', () => {
  let server: Server
  let context: Context
  let tokens: { status: number; document: object }[]
  let asked: number
  let said: string[]
  let sent: { redirectUri?: string; state?: string }
  beforeAll(async () => {
    server = createServer(authority.server(), async (request, response) => {
      let text = ''
      for await (const chunk of request) text += chunk
      const answer = (): { status: number; document: object } => {
        if (request.url === api.login.challenge.path) return { status: 200, document: { challenge: 'AAAA' } }
        if (request.url === api.login.token.path)
          return tokens[asked++] ?? { status: 200, document: { state: 'refused' } }
        sent = JSON.parse(text).flow
        const { publicUrl } = context
        return {
          status: 201,
          document: {
            transaction: 'login_0123456789',
            page: `${publicUrl}/device`,
            interval: 1,
            endsAt: new Date(Date.now() + 60_000).toISOString(),
            userCode: 'ABCD-EFGH',
            deviceCode: 'A'.repeat(43),
          },
        }
      }
      const { status, document } = answer()
      response.writeHead(status).end(JSON.stringify(document))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    context = {
      organisation: 'acme',
      machinesUrl: `https://localhost:${(server.address() as AddressInfo).port}`,
      publicUrl: 'http://localhost:4480',
      rootFingerprint: 'SHA256:x',
      bundle: { document: '{}', signatures: [] },
      bundleVersion: 1,
      machinesRoot: authority.root,
      logKey: { name: 'acme', key: '' },
      hostAuthorities: [],
      hostSuffixes: [],
      hosts: [],
    }
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })
  beforeEach(() => {
    asked = 0
    said = []
    const away = problem(503, 'unavailable', 'the keystore does not answer', { retryAfter: 0.1 })
    tokens = [away, away]
  })
  const login = (flow: 'loopback' | 'device', heard: (line: string) => void = () => undefined, openBrowser = false) =>
    signIn({
      context,
      lifetime: 3600,
      device: 'laptop',
      flow,
      openBrowser,
      keyType: 'ed25519',
      say: line => {
        said.push(line)
        heard(line)
      },
    })

  it.each(['loopback', 'device'] as const)('keeps its code and asks again, with one remark: %s', async flow => {
    const confirm = (line: string) => {
      if (line.startsWith('Open this page'))
        void fetch(`${sent.redirectUri}?code=${'A'.repeat(43)}&state=${sent.state}`)
    }
    await expect(login(flow, confirm)).rejects.toThrow('the login was refused in the browser')
    expect(asked).toBe(3)
    expect(said.filter(line => line.includes('the keystore does not answer'))).toHaveLength(1)
  })
  it("by an editor's terminal on another machine opens its page where the person is, and is confirmed by the code", async () => {
    const held = { ...process.env }
    try {
      Object.assign(process.env, { SSH_CONNECTION: 'x', KEYMAN_BROWSER: '', BROWSER: '/bin/true --page=%s' })
      const first = async (openBrowser: boolean) => {
        said = []
        tokens = []
        await expect(login('device', undefined, openBrowser)).rejects.toThrow('refused in the browser')
        return said.find(line => line.includes('the code'))
      }
      expect(await first(true)).toMatch(/^Type the code {2}\S+ {2}in the browser\. If no page opened: https?:/)
      expect(await first(false)).toMatch(/^Open https?:\S+ in a browser and type the code {2}/)
      process.env.BROWSER = '/bin/false'
      expect(await first(true)).toMatch(/^Open https?:\S+ in a browser and type the code {2}/)
    } finally {
      process.env = held
    }
  })
  it('ends at once where it is refused for another reason', async () => {
    tokens = [problem(403, 'denied', 'bob@example.com is disabled')]
    await expect(login('device')).rejects.toThrow('bob@example.com is disabled')
    expect(asked).toBe(1)
  })
})

describe('a server that is not what was meant', () => {
  it('at the address of the pages is told so: it does not speak TLS', async () => {
    const pages = createHttp((_, response) => response.end()).listen(0, '127.0.0.1')
    await once(pages, 'listening')
    const url = `https://localhost:${(pages.address() as AddressInfo).port}`
    await expect(call({ url, root: authority.root }, api.login.challenge)).rejects.toMatchObject({
      message: `${url} is not reached: it does not speak TLS`,
      hint: expect.stringContaining('is this the address of the pages?'),
    })
    pages.close()
  })
})
