import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { describeMachine } from './machine.ts'

const OWN = { 'sshd-folder': 'own/sshd', 'sshd-config': 'sshd_config', 'host-key': ['key.pub'], 'pid-file': 'sshd.pid' }
const flags = { ...OWN, sshd: process.execPath }

describe('what join is told of this machine', () => {
  it("must, for anybody but root, be all of an sshd of their own: the machine's is root's", () => {
    expect(() => describeMachine({}, false)).toThrowError(
      expect.objectContaining({
        code: 'invalid-input',
        message: expect.stringContaining('only root'),
        hint: expect.stringMatching(/as root, or .*--sshd-folder, --sshd-config, --host-key, --pid-file$/),
      }),
    )
    expect(() => describeMachine({ ...flags, 'sshd-config': undefined }, false)).toThrowError(
      expect.objectContaining({ hint: expect.stringMatching(/add --sshd-config$/) }),
    )
    expect(describeMachine(flags, false)).toMatchObject({ sshd: process.execPath })
    const { 'pid-file': _, ...reloading } = { ...flags, reload: 'true' }
    expect(describeMachine(reloading, false)).toMatchObject({ reload: { command: ['true'] } })
  })

  it('may name paths from where it is called; they are kept whole', () => {
    expect(describeMachine(flags)).toMatchObject({
      sshdFolder: resolve('own/sshd'),
      dropIn: resolve('own/sshd/keyman.conf'),
      sshdConfig: resolve('sshd_config'),
      hostKeys: [resolve('key.pub')],
      reload: { pidFile: resolve('sshd.pid') },
    })
  })

  it.each(['sshd-folder', 'sshd-config', 'drop-in', 'sshd', 'pid-file'])(
    'is refused by flag where sshd would not read the path of --%s',
    flag => {
      expect(() => describeMachine({ ...flags, [flag]: '/a b' })).toThrow(`--${flag}: "/a b" must be an absolute path`)
    },
  )
})
