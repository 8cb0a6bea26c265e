import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { call as agentCall } from '#agent/server/call.ts'
import { openStream } from '#agent/server/stream.ts'
import { api } from '#shared/api/index.ts'
import { newScriptedServer, type ScriptedServer } from '#test/agent/scripted-server.ts'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { call } from './client.ts'

const NAME = 'ca.example.test'
const SECRET = 'Zm9yLXRoZS1wcm94eQ'

/** A proxy that knows CONNECT and one name, which no resolver does; with `password` only for whoever shows it. */
async function startProxy(target: () => number, password?: string) {
  const asked: string[] = []
  const open = new Set<Socket>()
  const server: Server = createServer((_, response) => void response.writeHead(405).end())
  server.on('connect', (request, socket: Socket, head) => {
    asked.push(request.url ?? '')
    const wanted = password && `Basic ${Buffer.from(`me:${password}`).toString('base64')}`
    if (wanted && request.headers['proxy-authorization'] !== wanted)
      return void socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
    if (!request.url?.startsWith(`${NAME}:`)) return void socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
    const way = connect(target(), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n')
      way.write(head)
      socket.pipe(way).pipe(socket)
    })
    for (const each of [socket, way]) open.add(each.on('error', () => each.destroy()))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const close = () => {
    for (const each of open) each.destroy()
    server.close()
  }
  return { asked, port: (server.address() as AddressInfo).port, close }
}

describe('through a proxy', () => {
  const authority = newMachineAuthority()
  let server: ScriptedServer
  let proxy: Awaited<ReturnType<typeof startProxy>>
  let strict: Awaited<ReturnType<typeof startProxy>>
  const port = () => Number(new URL(server.url).port)
  beforeAll(async () => {
    server = await newScriptedServer({
      ...authority,
      server: () => authority.server([{ dns: NAME }, { dns: 'localhost' }]),
    })
    server.onCall = (_path, _body, response) => void response.end('{"challenge":"whole"}')
    proxy = await startProxy(port)
    strict = await startProxy(port, SECRET)
  })
  afterAll(async () => {
    proxy.close()
    strict.close()
    await server.close()
  })
  afterEach(() => {
    vi.unstubAllEnvs()
    proxy.asked.length = 0
    strict.asked.length = 0
  })

  /** The same question by the CLI and by the agent. */
  const ask = {
    keyman: (url: string) => call({ url, root: authority.root }, api.login.challenge),
    'keyman-agent': (url: string) => agentCall({ url, roots: [authority.root] }, api.login.challenge, {}),
  }
  const far = () => `https://${NAME}:${port()}`

  it.each(Object.entries(ask))(
    '%s reaches a server that only the proxy knows, and checks its certificate',
    async (_, asking) => {
      vi.stubEnv('HTTPS_PROXY', `http://127.0.0.1:${proxy.port}`)
      expect(await asking(far())).toEqual({ challenge: 'whole' })
      expect(proxy.asked).toEqual([`${NAME}:${port()}`])
      const other = newMachineAuthority('others')
      const believing = call({ url: far(), root: other.root }, api.login.challenge)
      await expect(believing).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('pinned') })
    },
  )

  it.each(Object.entries(ask))(
    '%s asks a server on this machine, and what NO_PROXY names, without it',
    async (_, asking) => {
      vi.stubEnv('HTTPS_PROXY', `http://127.0.0.1:${proxy.port}`)
      expect(await asking(`https://localhost:${port()}`)).toEqual({ challenge: 'whole' })
      vi.stubEnv('NO_PROXY', '.example.test')
      await expect(asking(far())).rejects.toMatchObject({ code: 'unavailable' })
      expect(proxy.asked).toEqual([])
    },
  )

  it.each(Object.entries(ask))('%s shows the proxy its password, and nobody else', async (_, asking) => {
    vi.stubEnv('HTTPS_PROXY', `http://me:${SECRET}@127.0.0.1:${strict.port}`)
    expect(await asking(far())).toEqual({ challenge: 'whole' })
    vi.stubEnv('HTTPS_PROXY', `http://me:${SECRET}x@127.0.0.1:${strict.port}`)
    const refused = await asking(far()).then(String, (error: unknown) => error)
    expect(refused).toMatchObject({ code: 'unavailable', message: expect.stringContaining('answered 407') })
    expect(JSON.stringify([refused, String(refused), refused instanceof Error && refused.stack])).not.toContain(SECRET)
  })

  it.each(Object.entries(ask))(
    '%s names a proxy that is not there, and what can not be one, without its password',
    async (_, asking) => {
      for (const address of ['127.0.0.1:9', 'nonsense.example.test:1']) {
        vi.stubEnv('HTTPS_PROXY', `http://me:${SECRET}@${address}`)
        const refused = await asking(far()).then(String, (error: unknown) => error)
        expect(refused).toMatchObject({ code: 'unavailable', message: expect.stringContaining(`the proxy ${address}`) })
        expect(String(refused)).not.toContain(SECRET)
      }
      vi.stubEnv('HTTPS_PROXY', `me:${SECRET}@`)
      const refused = await asking(far()).then(String, (error: unknown) => error)
      expect(refused).toMatchObject({ code: 'unavailable', message: expect.stringContaining('the proxy') })
      expect(String(refused)).not.toContain(SECRET)
    },
  )

  it("an agent's stream goes the same way", async () => {
    vi.stubEnv('HTTPS_PROXY', `http://me:${SECRET}@127.0.0.1:${strict.port}`)
    const stream = await openStream({ url: far(), roots: [authority.root] }, () => undefined)
    expect(strict.asked).toEqual([`${NAME}:${port()}`])
    stream.close()
    await stream.ended
  })
})
