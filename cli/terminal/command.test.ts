import { describe, expect, it } from 'vitest'
import { nearest } from '#shared/nearest.ts'
import { parseLabels } from '../calls/labels.ts'
import { parseTarget } from '../commands/login.ts'
import { command, parse, take } from './command.ts'

const sample = command({
  help: 'sample',
  options: { for: { type: 'string' }, yes: { type: 'boolean' }, label: { type: 'string', multiple: true } },
  variables: { for: 'KEYMAN_FOR', yes: 'KEYMAN_YES' },
  run: async () => 0,
})

describe('a command line', () => {
  it('gives flags and arguments in any order', () => {
    const { values, positionals } = parse(sample, ['a', '--for', '8h', 'b', '--label', 'x=1', '--label=y=2'], {})
    expect(positionals).toEqual(['a', 'b'])
    expect(values).toMatchObject({ for: '8h', label: ['x=1', 'y=2'] })
  })
  it('refuses a flag that is none, and names the nearest', () => {
    expect(() => parse(sample, ['--fro', '8h'], {})).toThrow('there is no flag --fro')
    expect(() => parse(sample, ['--lable', 'x=1'], {})).toThrow(
      expect.objectContaining({ hint: 'did you mean --label?' }),
    )
  })
  it('refuses a flag without its value, and a value where none belongs', () => {
    expect(() => parse(sample, ['--for'], {})).toThrow('--for needs a value')
    expect(() => parse(sample, ['--yes=no'], {})).toThrow('--yes takes no value')
  })
  it('what stands after -- is no flag', () => {
    expect(parse(sample, ['--', '--for'], {}).positionals).toEqual(['--for'])
  })
  it('refuses an argument too few or too many', () => {
    expect(() => take([], ['NAME'])).toThrow('NAME is missing')
    expect(() => take(['a', 'b'], ['NAME'])).toThrow('"b" is one argument too many')
  })
})

describe('a variable', () => {
  it('stands for its flag, and the flag wins', () => {
    expect(parse(sample, [], { KEYMAN_FOR: '2h', KEYMAN_YES: '1' }).values).toMatchObject({ for: '2h', yes: true })
    expect(parse(sample, ['--for', '4h'], { KEYMAN_FOR: '2h' }).values.for).toBe('4h')
  })
  it('that is empty or no says nothing', () => {
    expect(parse(sample, [], { KEYMAN_FOR: '', KEYMAN_YES: 'no' }).values).toEqual({})
  })
  it('that is neither yes nor no is refused by name', () => {
    expect(() => parse(sample, [], { KEYMAN_YES: 'perhaps' })).toThrow('KEYMAN_YES is neither yes nor no')
  })
})

describe('did you mean', () => {
  it('finds what is at most two edits away', () => {
    expect(nearest('stauts', ['status', 'ssh'])).toBe('status')
    expect(nearest('lgoin', ['login', 'logout'])).toBe('login')
  })
  it('says nothing where nothing is near', () => {
    expect(nearest('x', ['ssh', 'why'])).toBeUndefined()
    expect(nearest('frobnicate', ['status', 'ssh'])).toBeUndefined()
  })
})

describe('what login is given', () => {
  const fingerprint = `SHA256:${'A'.repeat(43)}`
  const both = { url: 'https://keys.example.com:4443', fingerprint }
  it('is a URL with a fingerprint', () => {
    expect(parseTarget(['https://keys.example.com:4443'], fingerprint)).toEqual(both)
    expect(parseTarget([], undefined)).toEqual({})
  })
  it('or the line of an invitation, as it was pasted', () => {
    const line = `keyman login https://keys.example.com:4443 --fingerprint ${fingerprint}`
    expect(parseTarget([line], undefined)).toEqual(both)
    expect(parseTarget([`bin/${line}`], undefined)).toEqual(both)
    expect(parseTarget([`https://keys.example.com:4443 --fingerprint ${fingerprint}`], undefined)).toEqual(both)
  })
  it.each([
    'http://keys.example.com',
    'keys.example.com',
    'https://alice@keys.example.com',
    'https://keys.example.com/path',
    'https://keys.example.com/?q',
  ])('and never %s', text => {
    expect(() => parseTarget([text], fingerprint)).toThrow('is not an address')
  })
  it('says what to do with the link of an invitation, and shows nothing of its secret', () => {
    for (const text of ['https://keys.example.com/enrol#s3cret', 'https://keys.example.com/other#s3cret']) {
      const read = () => parseTarget([text], undefined)
      expect(read).toThrow(text.includes('/enrol') ? 'the link of an invitation' : 'is not an address')
      expect(read).not.toThrow('s3cret')
    }
  })
  it('refuses a fingerprint that is cut short, and one without its server', () => {
    expect(() => parseTarget(['https://keys.example.com'], 'SHA256:AAAA')).toThrow('is not a whole fingerprint')
    expect(() => parseTarget([], fingerprint)).toThrow('--fingerprint belongs to a URL')
    expect(() => parseTarget(['https://a.example', 'https://b.example'], undefined)).toThrow('one server at a time')
  })
})

describe('labels', () => {
  it('are k=v, each once', () => {
    expect(parseLabels(['env=prod', 'tier=web'])).toEqual({ env: 'prod', tier: 'web' })
    expect(() => parseLabels(['env'])).toThrow('is not a label such as env=demo')
    expect(() => parseLabels(['env=a\nb'])).toThrow('is not a label')
    expect(() => parseLabels(['env=a', 'env=b'])).toThrow('the label env is given twice')
  })
})
