import { describe, expect, it } from 'vitest'
import { whatIsNext, whereItRuns } from './banner.ts'
import { loadConfig } from './config/index.ts'

const ROOT = `SHA256:${'a'.repeat(43)}`
const link = 'http://localhost:4480/enrol#secret'
const local = loadConfig({ env: {}, home: '/home/u' })
const real = loadConfig({
  env: {
    KEYMAN_ORGANISATION: 'acme',
    KEYMAN_PUBLIC_URL: 'https://keys.example.com',
    KEYMAN_TRUSTED_PROXIES: '127.0.0.1',
    KEYMAN_MACHINES_URL: 'https://keys.example.com:4443',
  },
  home: '/home/u',
})

describe('what the server says once it runs', () => {
  it('is where it is, with the link for the first owner', () => {
    expect(whereItRuns({ config: local, link, hasScreen: true })).toEqual([
      '  KeyMan is running.',
      '    pages     http://localhost:4480',
      '    machines  https://localhost:4443',
      '    data      /home/u/.local/state/keyman-server',
      '  First owner (valid 15 minutes, once):',
      `    ${link}`,
    ])
    expect(whereItRuns({ config: local, link: undefined, hasScreen: true })).toHaveLength(4)
  })

  it('names a tunnel where the pages are at localhost, and there is no screen', () => {
    expect(whereItRuns({ config: local, link, hasScreen: false }).at(-1)).toBe(
      '  No screen here? On your laptop:  ssh -L 4480:127.0.0.1:4480 THIS-MACHINE   then open the link there',
    )
    expect(whereItRuns({ config: real, link, hasScreen: false }).join('\n')).not.toContain('ssh -L')
  })

  it('goes on with the demo host where there is one', () => {
    const next = (host: string | undefined) => whatIsNext(local, ROOT, { isFound: true, demo: { host } })
    expect(next('demo.keyman.localhost')).toBe('  Next:  bin/keyman login   then   ssh demo')
    expect(next(undefined)).toBe('  Next:  bin/keyman login')
  })

  it('gives address, root and whole name where the CLI does not find the data folder', () => {
    expect(whatIsNext(local, ROOT, { isFound: false, demo: { host: 'demo.keyman.localhost' } })).toBe(
      `  Next:  bin/keyman login https://localhost:4443 --fingerprint ${ROOT}   then   ssh demo.keyman.localhost`,
    )
  })

  it('gives address and root of a real server, which people reach from elsewhere', () => {
    const next = `  Next:  keyman login https://keys.example.com:4443 --fingerprint ${ROOT}`
    for (const isFound of [true, false]) expect(whatIsNext(real, ROOT, { isFound, demo: false })).toBe(next)
    expect(whatIsNext(local, ROOT, { isFound: true, demo: false })).toBe('  Next:  keyman login')
  })
})
