import { type Browser, type BrowserContext, type CDPSession, chromium, type Page } from 'playwright-core'
import { pathOf } from '../requires.ts'

/** A person's browser with one passkey device of its own; no certificate error is ever ignored. */
export type TestBrowser = {
  /** A new person: own cookies, own authenticator. */
  person(): Promise<TestPerson>
  close(): Promise<void>
}
export type TestPerson = {
  readonly page: Page
  readonly cdp: CDPSession
  readonly authenticatorId: string
  /** Opens the link, makes a passkey, and gives the identity as the page says it. */
  enrol(link: string, identity?: string): Promise<string>
  /** Opens the page of a login and allows it; ends when the browser has arrived where it was sent. */
  consent(url: string): Promise<void>
  refuse(url: string): Promise<void>
  /** Types the code of a device login and allows it. */
  deviceLogin(url: string, code: string): Promise<void>
  /** Confirms an action of the CLI. */
  confirm(url: string): Promise<void>
  close(): Promise<void>
}

/** Debian's Chromium, headless, told not to look for anything on a network. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export async function openBrowser(): Promise<TestBrowser> {
  const browser = await chromium.launch({ executablePath: pathOf('chromium'), args: FLAGS, headless: true })
  return { person: () => newPerson(browser), close: () => browser.close() }
}

async function newPerson(browser: Browser): Promise<TestPerson> {
  const context: BrowserContext = await browser.newContext()
  const page = await context.newPage()
  const cdp = await context.newCDPSession(page)
  await cdp.send('WebAuthn.enable')
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  })
  const press = (name: string) => page.getByRole('button', { name }).click()
  const heading = (name: RegExp) => page.getByRole('heading', { name }).waitFor()
  /** The page says what was wrong instead of what was hoped for: the test shall show it. */
  const outcome = async (hoped: Promise<unknown>): Promise<void> => {
    const problem = page
      .locator('.problem')
      .waitFor()
      .then(async () => {
        throw new Error(`the page says: ${await page.locator('.problem').textContent()}`)
      })
    problem.catch(() => undefined)
    await Promise.race([hoped, problem])
  }
  return {
    page,
    cdp,
    authenticatorId,
    async enrol(link, identity) {
      await page.goto(link)
      await page.getByLabel('Your identity').waitFor()
      if (identity !== undefined) await page.getByLabel('Your identity').fill(identity)
      await press('Create passkey')
      await outcome(heading(/^You are /))
      return ((await page.getByRole('heading').textContent()) ?? '').replace('You are ', '')
    },
    async consent(url) {
      await page.goto(url)
      await press('Allow with passkey')
      await outcome(page.waitForURL(/^http:\/\/127\.0\.0\.1:/))
    },
    async refuse(url) {
      await page.goto(url)
      await press('Refuse')
      await outcome(page.waitForURL(/^http:\/\/127\.0\.0\.1:/))
    },
    async deviceLogin(url, code) {
      await page.goto(url)
      await page.getByLabel('Code').fill(code)
      await press('Continue')
      await press('Allow with passkey')
      await outcome(heading(/^Signed in/))
    },
    async confirm(url) {
      await page.goto(url)
      await press('Confirm with passkey')
      await outcome(heading(/^Confirmed/))
    },
    close: () => context.close(),
  }
}
