import fc from 'fast-check'
import { expect, it } from 'vitest'
import { toBase64Url, utf8 } from './bytes.ts'
import { formatJoinToken, formatWorkloadToken, parseJoinToken, parseWorkloadToken } from './join-token.ts'
import { parseHostName, parseWorkloadName } from './names.ts'

const common = {
  url: 'https://keyman.example.com:4443',
  fingerprint: `SHA256:${'A'.repeat(43)}`,
  secret: 'B'.repeat(43),
}
const host = { ...common, name: parseHostName('web1.example.com', 'test') }
const workload = { ...common, name: parseWorkloadName('payments/prod/backup', 'test') }

it('a token is read as it was written, with blanks around it', () => {
  expect(parseJoinToken(` ${formatJoinToken(host)}\n`)).toEqual(host)
  expect(parseWorkloadToken(`\t${formatWorkloadToken(workload)} `)).toEqual(workload)
})

it("a host's token is none of a workload, nor the other way round", () => {
  expect(() => parseWorkloadToken(formatJoinToken(host))).toThrow('token of a workload')
  expect(() => parseJoinToken(formatWorkloadToken(workload))).toThrow('join token')
  const disguised = formatJoinToken(host).replace('keyman-join', 'keyman-workload')
  expect(() => parseWorkloadToken(disguised)).toThrow('token of a workload')
})

it('what is no token is refused without a word of it', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 8 }), fc.boolean(), (text, isEncoded) => {
      const given = `keyman-workload-v1.${isEncoded ? toBase64Url(utf8(JSON.stringify({ ...workload, secret: text }))) : text}`
      let message = ''
      try {
        parseWorkloadToken(given)
      } catch (error) {
        message = JSON.stringify(error) + String(error)
      }
      expect(message).toContain('not a whole token')
      expect(message).not.toContain(given.slice('keyman-workload-v1.'.length))
    }),
  )
})
