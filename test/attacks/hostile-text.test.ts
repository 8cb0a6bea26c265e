import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { uint64 } from '#shared/api/fields.ts'
import { type ServerProcess, startServerProcess } from '#test/support/programs/server-process.ts'

/** Text that no schema of a route has looked at yet: it is refused by name, and never reaches the database. */
describe('a text that a database does not take', () => {
  let server: ServerProcess
  beforeAll(async () => {
    server = await startServerProcess()
  })
  afterAll(() => server?.close())
  const ask = async (path: string, body?: string) => {
    const response = await fetch(server.pagesUrl + path, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { origin: server.pagesUrl, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body }),
    })
    return { status: response.status, detail: (await response.json()).detail }
  }

  it('in an address: U+0000 is refused, and the parameter is named; any other unknown ID is not found', async () => {
    const refused = { status: 400, detail: 'transaction: the character U+0000 is not taken' }
    expect(await ask('/v1/login/%00')).toEqual(refused)
    expect(await ask('/v1/actions/action_%00/options', '{}')).toEqual(refused)
    expect((await ask('/v1/login/login_aaaaaaaaaaaaaaaaaaaaaa')).status).toBe(404)
  })
  it('inside the free parts of a body: the same', async () => {
    const assertion = (id: string) =>
      JSON.stringify({
        assertion: { id, rawId: id, type: 'public-key', response: {}, clientExtensionResults: {} },
      })
    expect((await ask('/v1/sign-in', assertion('a\0b'))).detail).toBe('body: the character U+0000 is not taken')
    expect((await ask('/v1/sign-in', assertion('ab'))).detail).not.toContain('U+0000')
    expect(server.output()).not.toContain('the database refused')
  })
  it('where a number is wanted: it is no number, and nothing else goes wrong', () => {
    for (const text of ['', 'a', '\0', '-1', '1.5', '0x10', ' 1', '01', '18446744073709551616', '9'.repeat(21)])
      expect(uint64.safeParse(text).success, text).toBe(false)
    expect(uint64.safeParse('18446744073709551615').success).toBe(true)
  })
})
