import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openBrowser, type TestBrowser, type TestPerson } from '#test/support/people/browser.ts'
import { type Laptop, openLaptop } from '#test/support/people/laptop.ts'
import { type ServerProcess, startServerProcess } from '#test/support/programs/server-process.ts'
import { requires } from '#test/support/requires.ts'

/** What the README shows of the first minutes, command by command, at a terminal of its own. */
const readme = readFileSync(join(import.meta.dirname, '..', '..', 'README.md'), 'utf8')
const [transcript = ''] = readme.match(/(?<=```\n)\$ bin\/keyman login\n[^`]+/) ?? []
const steps = transcript
  .split(/^\$ /m)
  .filter(text => text.trim() !== '')
  .map(text => {
    const [command = '', ...said] = text.trim().split('\n')
    return { command, said }
  })

describe.skipIf(!requires('ssh', 'sshd', 'chromium'))("the README's transcript", () => {
  let server: ServerProcess
  let laptop: Laptop
  let browser: TestBrowser
  let person: TestPerson

  beforeAll(async () => {
    server = await startServerProcess({ demo: true })
    laptop = await openLaptop(server.folder, server.env)
    browser = await openBrowser()
    person = await browser.person()
    await person.enrol(server.ownerLink(), 'alice@localhost')
  })
  afterAll(async () => {
    await browser?.close()
    await laptop?.close()
    await server?.close()
  })

  /** Runs one line at a terminal; answers its one question with yes, and touches the passkey on each page that opens. */
  const atTerminal = (command: string): Promise<string[]> => {
    // ssh goes by the passwd entry and not by HOME.
    const line = command
      .replace(/^bin\/keyman/, join(server.folder, 'bin', 'keyman'))
      .replace(/^ssh/, `ssh -F ${server.folder}/.ssh/config -o GlobalKnownHostsFile=/dev/null`)
    const ended = Promise.withResolvers<string[]>()
    const { reject } = ended
    const child = spawn('script', ['-qec', line, '/dev/null'], { env: { ...laptop.env, TERM: 'dumb', COLUMNS: '120' } })
    let said = ''
    let asked = false
    const opened = new Set<string>()
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (!asked && said.includes('[y/N]')) {
        asked = true
        child.stdin.write('y\n')
      }
      for (const [, page = ''] of said.matchAll(/(http:\/\/localhost:\d+\/(?:login|confirm)\/[\w-]+)(?=\s)/g)) {
        if (opened.has(page)) continue
        opened.add(page)
        void (page.includes('/confirm/') ? person.confirm(page) : person.consent(page)).catch(reject)
      }
    })
    child.once('error', reject)
    child.once('close', () => ended.resolve(said.replaceAll('\r', '').trimEnd().split('\n')))
    return ended.promise
  }

  it.each(steps)('$command says what stands there', async ({ command, said }) => {
    const lines = await atTerminal(command)
    expect(lines.map(line => line.replace(/\s+/g, ' ').trim())).toEqual(
      said.map(line => expect.stringMatching(new RegExp(`^${patternOf(line)}$`))),
    )
  })

  /** What differs from one machine and moment to the next is anything; the rest stands as it is. */
  const patternOf = (line: string): string => {
    const literal = line
      .replace(/\s+/g, ' ')
      .trim()
      .replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
    return (
      literal
        // In groups of four, or whole.
        .replace(/SHA256:[A-Za-z0-9+]+(?: \S{4})+ …/, 'SHA256:[A-Za-z0-9+/ ]+ …')
        .replace(/SHA256:[A-Za-z0-9+]+/g, 'SHA256:[A-Za-z0-9+/]+')
        .replace(/client [0-9a-f ]+ …/, 'client [0-9a-f ]+ …')
        .replace(/\b(login|session|grant)_\w+(?:…)?/g, '$1_[\\w-]+')
        // An end that is on another day is told with its date.
        .replace(
          /\b\d+ h \d+ min, \d\d:\d\d \w+/g,
          '(?:\\d+ h|8 h)(?: \\d+ min)?, (?:\\d{4}-\\d\\d-\\d\\d )?\\d\\d:\\d\\d \\S+',
        )
        .replace(/localhost:\d+/g, 'localhost:\\d+')
        .replace(/serial \d+/, 'serial \\d+')
        .replace(/\\\/home\\\/alice\\\/(?:\\\.config)?/g, '\\S+')
        .replace(/^alice$/, userInfo().username)
        .replace(/\(alice\\\)$/, `(${userInfo().username}\\)`)
        .replace(/ as alice,/, ` as ${userInfo().username},`)
        .replace(/^Added; plain ssh works now.*$/, 'Added; (?:plain ssh works now|but plain ssh reads ).*')
    )
  }
})
