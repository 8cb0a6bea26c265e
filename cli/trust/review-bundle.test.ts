import { describe, expect, it } from 'vitest'
import { toBase64 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { fingerprint } from '#shared/ssh/index.ts'
import { compareNext, NAMED_CHANGES, type TrustBundle } from '#shared/trust/index.ts'
import { newKey, newWorld } from '#test/support/trust-world.ts'
import { confirmChanges, type Expected, expectedFrom } from './review-bundle.ts'

/** What whoever signs a trust bundle has to say of each change: the document is the server's. */
const world = newWorld()
const before = world.bundle()
const print = (key: { publicKey: Parameters<typeof fingerprint>[0] }) => fingerprint(key.publicKey)
const nobody = { canAsk: () => false, ask: async () => false }

/** What is asked of somebody who says yes to all of it, or the refusal where nobody sits there. */
async function asked(change: Partial<TrustBundle>, expected: Partial<Expected> = {}) {
  const differences = compareNext(before, { ...before, version: 2, ...change }, NAMED_CHANGES)
  const questions: string[] = []
  const yes = { canAsk: () => true, ask: async (question: string) => questions.push(question) > 0 }
  const said: Expected = { named: NAMED_CHANGES, keys: [], ...expected }
  await confirmChanges(differences, said, yes)
  const alone = await confirmChanges(differences, said, nobody).then(
    () => 'signed',
    (error: unknown) => (error instanceof KeymanError ? error.code : 'another error'),
  )
  return { questions, alone }
}

describe('whoever signs is asked', () => {
  const { ssh, roots } = before
  const withUser = (line: string) => ({
    ssh: { ...ssh, userAuthorities: [...ssh.userAuthorities, { key: line, state: 'active' as const }] },
  })

  it('of a root key that becomes an authority, though the roots themselves were given; of the roots alone nothing', async () => {
    const next = newKey()
    const moved = { roots: { threshold: 1, keys: [next.line] } }
    expect(await asked(moved, { rootsGiven: true })).toEqual({ questions: [], alone: 'signed' })
    for (const key of [world.root, next]) {
      const slipped = await asked({ ...moved, ...withUser(key.line) }, { rootsGiven: true })
      expect(slipped.questions).toEqual([`Is this meant: ssh-user key ${print(key)} added (active)?`])
      expect(slipped.alone).toBe('invalid-input')
    }
  })

  it('of a key that was named for another purpose; for its own it was named', async () => {
    const key = newKey()
    const { keys: forHosts } = expectedFrom({ key: [`ssh-host=${print(key)}`] })
    expect((await asked(withUser(key.line), { keys: forHosts })).alone).toBe('invalid-input')
    const { keys } = expectedFrom({ key: [`ssh-user=${print(key)}`] })
    expect(await asked(withUser(key.line), { keys })).toEqual({ questions: [], alone: 'signed' })
    expect(() => expectedFrom({ key: [print(key)] })).toThrow('names no key and what it is for')
  })

  it('of a log key that comes, as of an authority key; not where it was named, or a keystore lists it', async () => {
    const key = newKey()
    const change = { otherLogKeys: [toBase64(key.publicKey.blob.slice(-32))] }
    expect(await asked(change)).toEqual({
      questions: [`Is this meant: log key ${print(key)} added?`],
      alone: 'invalid-input',
    })
    const { keys } = expectedFrom({ key: [`log=${print(key)}`] })
    expect(await asked(change, { keys })).toEqual({ questions: [], alone: 'signed' })
    const at = { label: 'log-1', fingerprint: print(key), keystore: 'keystore.standby (software)' }
    expect(await asked(change, { listed: [{ ...at, purpose: 'log' }] })).toEqual({ questions: [], alone: 'signed' })
    expect((await asked(change, { listed: [{ ...at, purpose: 'ssh-user' }] })).alone).toBe('invalid-input')
  })

  it.each([
    ['host-suffixes', { hostSuffixes: [...before.hostSuffixes, 'evil.example'] }, 'evil.example'],
    ['addresses', { machinesUrl: 'https://evil.example' }, 'https://evil.example'],
    ['incarnation', { incarnation: 'second' }, 'second'],
    ['log-key', { logKey: { ...before.logKey, name: 'evil.example/log' } }, 'evil.example/log'],
    ['threshold', { roots: { threshold: 2, keys: [...roots.keys, newKey().line] } }, '1 -> 2'],
  ])(
    'whether the value is meant where the change %s was named: it is the server that says which',
    async (name, change, value) => {
      const { questions } = await asked(change)
      expect(questions.find(question => question.startsWith(`Is this meant: ${name}:`))).toContain(value)
    },
  )

  it('and nothing is signed where they say no', async () => {
    const differences = compareNext(before, { ...before, version: 2, incarnation: 'second' }, NAMED_CHANGES)
    const no = confirmChanges(
      differences,
      { named: NAMED_CHANGES, keys: [] },
      { canAsk: () => true, ask: async () => false },
    )
    await expect(no).rejects.toThrow('it is not meant; nothing was signed')
  })
})
