import type { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { api } from '#shared/api/index.ts'
import { newScriptedServer, type ScriptedServer } from '#test/agent/scripted-server.ts'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { call, clockDifference } from './call.ts'

const HOUR = 3_600_000

describe('a call to the server', () => {
  const authority = newMachineAuthority()
  let server: ScriptedServer
  const connection = () => ({ url: server.url, roots: [authority.root] })
  beforeAll(async () => {
    server = await newScriptedServer(authority)
  })
  afterAll(() => server.close())

  it.each([
    ['ends cleanly', (socket: Socket | null) => socket?.end()],
    ['is gone', (socket: Socket | null) => socket?.destroy()],
  ])('fails where the peer %s in the middle of its answer', async (_, hangUp) => {
    server.onCall = (_path, _body, response) => {
      response.writeHead(200, { 'content-length': 100 })
      response.write('{"challenge":"half', () => hangUp(response.socket))
    }
    await expect(call(connection(), api.login.challenge, {})).rejects.toMatchObject({ code: 'unavailable' })
    server.onCall = (_path, _body, response) => void response.end('{"challenge":"whole"}')
    expect(await call(connection(), api.login.challenge, {})).toEqual({ challenge: 'whole' })
  })

  it('is cut off where the answer is larger than any of ours', async () => {
    server.onCall = (_path, _body, response) => void response.end('x'.repeat(5 * 1024 * 1024))
    await expect(call(connection(), api.login.challenge, {})).rejects.toThrow(/the answer is too large/)
  })

  it('that fails by the time of a certificate names the clock', async () => {
    const validity = { notBefore: new Date(Date.now() + HOUR), notAfter: new Date(Date.now() + 2 * HOUR) }
    const late = await newScriptedServer({ ...authority, server: () => authority.server(undefined, validity) })
    await expect(call({ url: late.url, roots: [authority.root] }, api.login.challenge, {})).rejects.toMatchObject({
      code: 'unavailable',
      hint: expect.stringContaining('clock'),
    })
    await late.close()
  })

  it('tells how far the clocks are apart by the time of the answer, and that there is none', async () => {
    server.onCall = (_path, _body, response) =>
      void response.writeHead(404, { date: 'Wed, 25 Nov 2026 12:00:00 GMT' }).end()
    const at = (time: string) => clockDifference(connection(), () => new Date(time))
    expect(await at('2026-11-25T11:50:00.500Z')).toBe(600_000)
    expect(await at('2026-11-25T12:10:00.500Z')).toBe(-600_000)
    server.onCall = (_path, _body, response) => {
      response.sendDate = false
      response.end()
    }
    await expect(at('2026-11-25T12:00:00Z')).rejects.toThrow(/does not say what time/)
  })
})
