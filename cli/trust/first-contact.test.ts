import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { freePort } from '#test/support/free-port.ts'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { openLaptop } from '#test/support/people/laptop.ts'
import { startServerProcess, testHome } from '#test/support/programs/server-process.ts'
import { requires } from '#test/support/requires.ts'

it.skipIf(!requires('ssh'))("that it is the pages' address is said, and which the machines' may be", async () => {
  const folder = testHome()
  const { cert, key } = newMachineAuthority().server([{ dns: 'localhost' }])
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const pages = await freePort()
  const server = await startServerProcess({
    folder,
    env: {
      KEYMAN_PUBLIC_URL: `https://localhost:${pages}`,
      KEYMAN_PAGES_LISTEN: `127.0.0.1:${pages}`,
      KEYMAN_PAGES_TLS_CERTIFICATE: file('pages.crt', cert),
      KEYMAN_PAGES_TLS_KEY: file('pages.key', key),
    },
  })
  const laptop = await openLaptop(server.folder, server.env, { agent: false })
  try {
    const { rootFingerprint } = JSON.parse(readFileSync(join(server.dataFolder, 'local.json'), 'utf8'))
    const login = (url: string) =>
      laptop.run('env', [
        ...['-u', 'KEYMAN_BROWSER', join(laptop.home, 'bin', 'keyman'), 'login', url],
        ...['--fingerprint', rootFingerprint],
      ])
    const wrong = await login(`https://localhost:${pages}`)
    expect(wrong.code).toBe(2)
    expect(wrong.stderr).toMatch(
      /is the address of the pages, which is for browsers\n.*hint: .* https:\/\/localhost:4443 unless/,
    )
    // Trust has begun; only that nobody sits there is in the way.
    expect((await login(server.machinesUrl)).stderr).toContain('nobody is here to touch a passkey')
  } finally {
    await laptop.close()
    await server.close()
  }
})
