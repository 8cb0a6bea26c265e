import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readSshdMessage } from './sshd-message.ts'

const [KEY, CA] = [`SHA256:${'k'.repeat(43)}`, `SHA256:${'c'.repeat(43)}`]
const accepted = (id: string, login = 'deploy') =>
  `Accepted publickey for ${login} from 192.0.2.7 port 49154 ssh2: ED25519-CERT ${KEY} ID ${id} (serial 7) CA ED25519 ${CA}`
const peer = { address: '192.0.2.7', port: 49154 }

/** As OpenSSH 9.2 writes them. */
describe("what sshd's log says of a login", () => {
  it('by a certificate: login, key ID, serial and authority', () => {
    expect(readSshdMessage(`${accepted('alice@example.com/passkey/session_x')}\r`)).toEqual({
      ...{ kind: 'accepted', login: 'deploy', peer },
      by: { method: 'certificate', key: KEY, keyId: 'alice@example.com/passkey/session_x', serial: '7', authority: CA },
    })
  })

  it('by anything else: how', () => {
    const by = (text: string) => {
      const read = readSshdMessage(text)
      return read?.kind === 'accepted' ? read.by : read
    }
    const from = 'for root from 2001:db8::1 port 22 ssh2'
    expect(by(`Accepted publickey ${from}: ED25519 ${KEY}`)).toEqual({ method: 'publickey', key: KEY })
    expect(by(`Accepted password ${from}`)).toEqual({ method: 'password' })
    expect(by(`Accepted keyboard-interactive/pam ${from}`)).toEqual({ method: 'keyboard-interactive' })
    expect(by(`Accepted gssapi-with-mic ${from}: alice@EXAMPLE.COM`)).toEqual({ method: 'gssapi' })
    expect(by(`Accepted none ${from}`)).toEqual({ method: 'other' })
    // FingerprintHash md5.
    expect(by(`Accepted publickey ${from}: RSA MD5:aa:bb`)).toEqual({ method: 'other' })
  })

  it('that has ended, in whichever words', () => {
    for (const words of [
      'Disconnected from user deploy 192.0.2.7 port 49154',
      'Connection closed by 192.0.2.7 port 49154',
      'Connection reset by 192.0.2.7 port 49154',
      'Timeout, client not responding from user deploy 192.0.2.7 port 49154',
    ])
      expect(readSshdMessage(words), words).toEqual({ kind: 'closed', peer })
  })

  it('has one text for one address', () => {
    const addressOf = (from: string) => {
      const read = readSshdMessage(`Connection closed by ${from} port 22`)
      return read?.peer.address
    }
    expect(addressOf('2001:DB8:0::0001')).toBe('2001:db8::1')
    expect(addressOf('::ffff:192.0.2.7')).toBe('192.0.2.7')
    expect(addressOf('fe80::1%eth0')).toBe('fe80::1')
    expect(addressOf('UNKNOWN')).toBeUndefined()
  })

  it('is nothing that a stranger can say', () => {
    // A user's name stands in these as it was sent, a key ID of a foreign authority too.
    for (const said of [
      `Invalid user ${accepted('alice@example.com/passkey/session_x')} from 192.0.2.7 port 1`,
      `Failed password for invalid user Accepted publickey for root from 192.0.2.7 port 1 ssh2`,
      'Connection closed by authenticating user root 192.0.2.7 port 49154 [preauth]',
      'Disconnected from invalid user x 192.0.2.7 port 49154 [preauth]',
      'Disconnected from authenticating user root 192.0.2.7 port 49154 [preauth]',
      'Connection closed by 192.0.2.7 port 49154 [preauth]',
    ])
      expect(readSshdMessage(said), said).toBeUndefined()
    const forged = readSshdMessage(accepted(`alice@example.com/passkey/session_x (serial 9) CA ED25519 ${KEY}`))
    expect(forged).toMatchObject({ by: { serial: '7', authority: CA } })
    expect(forged).not.toHaveProperty('by.keyId')
    expect(readSshdMessage(accepted('alice@example.com/passkey/session_x', 'Deploy!'))).toBeUndefined()
  })

  it('is read without an error, whatever it is', () => {
    const pieces = fc.constantFrom(
      'Accepted publickey for ',
      'root from ',
      '192.0.2.7 ',
      'port 22 ',
      'ssh2: ',
      KEY,
      ' ID ',
      '%',
      '\0',
      '(serial ',
      '99999999999999999999)',
    )
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(pieces).map(all => all.join('')),
        ),
        text => {
          const read = readSshdMessage(text)
          if (read?.kind === 'accepted') expect(text.startsWith('Accepted ')).toBe(true)
        },
      ),
      { numRuns: 2000 },
    )
  })
})
