import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { differs, formatPrincipalsFile, type Line, readPrincipalsFile } from './principals-file.ts'

const plain: Line = {
  principal: 'alice@example.com',
  pty: true,
  portForwarding: true,
  agentForwarding: false,
  x11Forwarding: false,
}

const principal = fc.stringMatching(/^[a-z0-9][a-z0-9._+-]{0,20}[@:][a-z0-9][a-z0-9._+/-]{0,30}$/)
const line: fc.Arbitrary<Line> = fc.record(
  {
    principal,
    pty: fc.boolean(),
    portForwarding: fc.boolean(),
    agentForwarding: fc.boolean(),
    x11Forwarding: fc.boolean(),
    sourceAddress: fc.array(fc.oneof(fc.ipV4(), fc.ipV6(), fc.constant('10.0.0.0/8'), fc.constant('2001:db8::/32')), {
      minLength: 1,
      maxLength: 4,
    }),
    forceCommand: fc.stringMatching(/^[\x20\x21\x24-\x5b\x5d-\x7e]{1,60}$/),
    expiresAt: fc
      .date({ min: new Date('1975-01-01'), max: new Date('9000-01-01'), noInvalidDate: true })
      .map(date => date.toISOString()),
  },
  { requiredKeys: ['principal', 'pty', 'portForwarding', 'agentForwarding', 'x11Forwarding'] },
)

describe('a principals file', () => {
  it('has one line a principal: restrict first, then what is given', () => {
    const full: Line = {
      ...plain,
      sourceAddress: ['192.0.2.0/24', '2001:db8::1'],
      forceCommand: 'uptime, please',
      expiresAt: '2026-11-24T12:00:00.000Z',
    }
    expect(formatPrincipalsFile([full], 'utc')).toBe(
      'restrict,pty,port-forwarding,from="192.0.2.0/24,2001:db8::1",command="uptime, please",expiry-time="20261124120000Z" alice@example.com\n',
    )
  })

  it('reads back as exactly what was written, whatever the parts', () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), lines => {
        const text = formatPrincipalsFile(lines, 'utc')
        expect(differs(text, lines, 'utc')).toBeUndefined()
        expect(readPrincipalsFile(text).map(read => read.principal)).toEqual(lines.map(each => each.principal))
      }),
      { seed: 7, numRuns: 500 },
    )
  })

  it('is found to differ when one byte of it is changed', () => {
    const lines = [plain, { ...plain, principal: 'bob@example.com', forceCommand: 'id' }]
    const text = formatPrincipalsFile(lines, 'utc')
    for (let i = 0; i < text.length; i++) {
      for (const other of ['#', ' ', 'x', '\n', '"', ',']) {
        if (text[i] === other) continue
        const changed = text.slice(0, i) + other + text.slice(i + 1)
        const same = JSON.stringify(readPrincipalsFile(changed)) === JSON.stringify(readPrincipalsFile(text))
        expect(differs(changed, lines, 'utc') === undefined).toBe(same)
      }
    }
  })

  it.each([
    ['a newline', 'alice@example.com\nroot@example.com'],
    ['a #, at which sshd cuts the line', 'alice@example.com#x'],
    ['a blank, before which sshd reads options', 'no-pty alice@example.com'],
    ['a comma', 'alice@example.com,bob@example.com'],
    ['a glob', '*@example.com'],
    ['no @ or :, as a Unix login', 'root'],
    ['nothing in it', ''],
  ])('refuses a principal with %s', (_, text) => {
    expect(() => formatPrincipalsFile([{ ...plain, principal: text }], 'utc')).toThrow(/principal/)
    expect(() => formatPrincipalsFile([plain], 'utc')).not.toThrow()
  })

  it.each([
    ['a quote', 'echo "hi"'],
    ['a backslash', 'echo \\n'],
    ['a #', 'echo #'],
    ['a newline', 'echo\nrestrict,pty root@example.com'],
    ['a control character', 'echo \u0007'],
    ['nothing in it', ''],
  ])('refuses a command with %s', (_, forceCommand) => {
    expect(() => formatPrincipalsFile([{ ...plain, forceCommand }], 'utc')).toThrow(/forceCommand/)
    expect(() => formatPrincipalsFile([{ ...plain, forceCommand: 'echo hi' }], 'utc')).not.toThrow()
  })

  it.each(['*', '!10.0.0.1', '10.0.0.1"', 'example.com', '10.0.0.0/33', '10.0.0.0/08', '10.0.0.1,', ''])(
    'refuses the source address %j',
    address => {
      expect(() => formatPrincipalsFile([{ ...plain, sourceAddress: [address] }], 'utc')).toThrow(/sourceAddress/)
      expect(() => formatPrincipalsFile([{ ...plain, sourceAddress: ['10.0.0.1'] }], 'utc')).not.toThrow()
    },
  )

  it('refuses an empty list of source addresses, which reads like no limit', () => {
    expect(() => formatPrincipalsFile([{ ...plain, sourceAddress: [] }], 'utc')).toThrow(/sourceAddress/)
  })

  it('is read as sshd reads it: comments, leading blanks, options before the last blank', () => {
    const text =
      '# all of it\n\n  alice@example.com # who\nno-pty bob@example.com#x\n\trestrict,command="a, b c" carol@example.com  \n'
    expect(readPrincipalsFile(text)).toEqual([
      { principal: 'alice@example.com', options: [] },
      { principal: 'bob@example.com', options: ['no-pty'] },
      { principal: 'carol@example.com', options: ['restrict', 'command="a, b c"'] },
    ])
  })
})
