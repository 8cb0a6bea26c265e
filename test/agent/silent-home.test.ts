import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { doctor } from '#agent/commands/doctor.ts'
import { sshdFiles } from '#agent/sshd/files.ts'
import { type ConfiguredHost, configuredHost } from '#test/support/configured-host.ts'
import { newSilentFolder, type SilentFolder } from '#test/support/programs/silent-folder.ts'
import { newUnixUser } from '#test/support/programs/sshd.ts'
import { isRoot, requires } from '#test/support/requires.ts'

/** As below a mount of NFS whose server is gone: real, and for root alone to make. */
describe.skipIf(!isRoot || !requires('sshd', 'fuse'))('a home that never answers (root only)', () => {
  let user: ReturnType<typeof newUnixUser>
  let host: ConfiguredHost
  let silent: SilentFolder | undefined
  const home = () => join(host.sshd.folder, 'homes', user.name)
  const unread = () =>
    `remark: whether plain keys of "${home()}/keys" let in as ${user.name} could not be read: no answer within 5 seconds`
  const letsIn = (login: string) => expect.stringMatching(`^lets-in: 1 plain key of .* still let in as ${login}: `)

  beforeAll(() => {
    user = newUnixUser()
  })
  afterAll(() => user.remove())
  afterEach(async () => {
    silent?.answer()
    await host.sshd.close()
  })

  /** One key each of this login and of root, the login's in a folder that a test may silence. */
  const start = async () => {
    host = await configuredHost(user.name, ({ folder }) => [`AuthorizedKeysFile ${folder}/homes/%u/keys`])
    for (const name of [user.name, 'root']) {
      mkdirSync(join(host.sshd.folder, 'homes', name), { recursive: true })
      writeFileSync(join(host.sshd.folder, 'homes', name, 'keys'), readFileSync(`${host.sshd.hostKey}.pub`))
    }
  }
  const silence = () => {
    silent = newSilentFolder(home())
  }

  it('and one that does: both are read', async () => {
    await start()
    expect(await host.found()).toEqual(expect.arrayContaining([letsIn(user.name), letsIn('root')]))
  })

  it('is told as one that could not be read, never as one without keys; others are read', async () => {
    await start()
    silence()
    const found = await host.found()
    expect(found).toEqual(expect.arrayContaining([unread(), letsIn('root')]))
    expect(found).not.toContainEqual(letsIn(user.name))
    expect(await doctor(host.agent)).toContainEqual({
      name: 'left as it was',
      ok: true,
      note: true,
      message: unread().replace('remark: ', ''),
    })
  })

  it('keeps nothing that the server says from being in force', async () => {
    await start()
    await host.found()
    silence()
    const looking = host.keeper.lookAround().then(() => 'the home was waited for')
    const word = host.keeper.take({ type: 'state', state: { ...host.state(2), principals: {} } })
    expect(await Promise.race([word, looking])).toMatchObject({ type: 'in-force', revision: 2 })
    expect(existsSync(join(sshdFiles(host.agent.config).principals, user.name))).toBe(false)
    await looking
  })

  it('is asked once, and again by the hour, or after a change of what sshd is told', async () => {
    await start()
    silence()
    expect(await host.found()).toContainEqual(unread())
    silent?.answer()
    expect(await host.found()).toContainEqual(unread())
    await host.keeper.lookAround({ always: true })
    expect(await host.found()).toContainEqual(letsIn(user.name))
    silence()
    await host.keeper.lookAround({ always: true })
    expect(await host.found()).toContainEqual(unread())
    silent?.answer()
    writeFileSync(host.sshd.configFile, `${readFileSync(host.sshd.configFile, 'utf8')}# changed\n`)
    expect(await host.found()).toContainEqual(letsIn(user.name))
  })
})
