import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openBrowser, type TestBrowser, type TestPerson } from '#test/support/people/browser.ts'
import { type ServerProcess, startServerProcess } from '#test/support/programs/server-process.ts'
import { requires } from '#test/support/requires.ts'

/** The pages as a person finds them who mistypes, uses the keyboard, and looks into the console. */
describe.skipIf(!requires('chromium'))('the pages', () => {
  let server: ServerProcess
  let browser: TestBrowser
  let alice: TestPerson
  const console: string[] = []
  const focused = () => alice.page.evaluate(() => document.activeElement?.textContent || document.activeElement?.id)
  const press = (name: string) => alice.page.getByRole('button', { name }).click()
  beforeAll(async () => {
    server = await startServerProcess()
    browser = await openBrowser()
    alice = await browser.person()
    alice.page.on('console', message => void console.push(message.text()))
  })
  afterAll(async () => {
    await browser?.close()
    await server?.close()
  })

  it('that nobody is signed in to have a title of their own, and nothing red in the console', async () => {
    await alice.page.goto(server.pagesUrl)
    await alice.page.getByRole('heading', { name: 'Sign in' }).waitFor()
    expect([await alice.page.title(), console]).toEqual(['Sign in · KeyMan', []])
  })

  it('keep what was typed when it is refused', async () => {
    await alice.page.goto(server.ownerLink())
    await alice.page.getByRole('heading', { name: 'Welcome to KeyMan' }).waitFor()
    expect(await alice.page.getByText('organisation = "acme"').count()).toBe(1)
    await alice.page.getByLabel('Your identity').fill('Alice@example.com')
    await alice.page.getByLabel('A name for this passkey').fill('red key')
    await press('Create passkey')
    await alice.page.getByText('An identity looks like').waitFor()
    const kept = async (name: string) => alice.page.getByLabel(name).inputValue()
    expect([await kept('Your identity'), await kept('A name for this passkey')]).toEqual([
      'Alice@example.com',
      'red key',
    ])
    await expect.poll(focused).toBe('Create passkey')
  })

  it('name a device that can not check who touches it, where the browser says so, and what else it may be where not', async () => {
    const { cdp, page } = alice
    await page.getByLabel('Your identity').fill('alice@example.com')
    await cdp.send('WebAuthn.setUserVerified', { authenticatorId: alice.authenticatorId, isUserVerified: false })
    await press('Create passkey')
    const problem = page.locator('.problem')
    await problem.waitFor()
    expect(await problem.textContent()).toMatch(/does not say why.*no PIN or no room/)
    expect(await page.getByLabel('Your identity').inputValue()).toBe('alice@example.com')
    // The server was asked meanwhile, and the button could not be pressed a second time.
    await expect.poll(focused).toBe('Create passkey')
    await cdp.send('WebAuthn.setUserVerified', { authenticatorId: alice.authenticatorId, isUserVerified: true })
    await press('Create passkey')
    await page.getByRole('heading', { name: 'You are alice@example.com' }).waitFor()
  })

  it('copy the command that stands there, and say so', async () => {
    const { page } = alice
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
    await press('Copy')
    await page.getByText('Copied').waitFor()
    expect(await page.evaluate(() => navigator.clipboard.readText())).toMatch(/^keyman login /)
    await expect.poll(focused).toBe('Copied')
  })

  it('never lose the focus: to a new name and back, to a question and back', async () => {
    const { page } = alice
    await page.goto(server.pagesUrl)
    await press('Rename red key')
    await expect.poll(() => page.evaluate(() => document.activeElement?.getAttribute('name'))).toBe('name')
    await page.keyboard.press('Control+A')
    await page.keyboard.type('blue key')
    await page.keyboard.press('Enter')
    await page.getByText('blue key').waitFor()
    await expect.poll(focused).toBe('Rename')
    await press('Rename blue key')
    await press('Cancel')
    await expect.poll(focused).toBe('Rename')
    expect(await page.locator('time').first().getAttribute('datetime')).toMatch(/Z$/)
  })

  it('keep a code that was wrong, with the focus, for it to be mended', async () => {
    const { page } = alice
    await page.goto(`${server.pagesUrl}/device`)
    await page.getByLabel('Code').fill('BCDF-GHJK')
    await page.getByLabel('Code').press('Enter')
    await page.locator('.problem').waitFor()
    expect([await page.getByLabel('Code').inputValue(), await focused()]).toEqual(['BCDF-GHJK', 'code'])
    expect(await page.title()).toBe('Sign in a machine · KeyMan')
  })
})
