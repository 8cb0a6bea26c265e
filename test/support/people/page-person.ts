import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { api } from '#shared/api/index.ts'
import { type ApiPerson, page as call, confirm, enrol } from './api-person.ts'

/**
 * A person with a browser, as a program of its own: reads from a FIFO the addresses of pages that open, and touches the
 * passkey on each. Arguments: the pages' address, the FIFO, the identity. Says on stdout what was done.
 */
const [pagesUrl = '', fifo = '', identity = ''] = process.argv.slice(2)
const target = { pagesUrl, machinesUrl: '' }
let person: ApiPerson | undefined

async function visit(page: string): Promise<string> {
  const { pathname } = new URL(page)
  const [, kind, transaction = ''] = pathname.split('/')
  if (kind === 'enrol') {
    person = await enrol(target, page, identity)
    return 'enrolled'
  }
  if (!person) throw new Error('nobody has enrolled')
  if (kind === 'confirm') {
    await confirm(target, person, transaction)
    return 'confirmed'
  }
  const params = { transaction }
  const { options } = await call(target, api.login.consentOptions, { params })
  const assertion = person.authenticator.get(options)
  const { redirectTo } = await call(target, api.login.consent, { params, body: { assertion } })
  await fetch(redirectTo ?? '')
  return 'signed in'
}

// Open for writing too, so that it never ends.
for await (const page of createInterface({ input: createReadStream(fifo, { flags: 'r+' }) }))
  console.log(await visit(page).catch(error => `failed: ${error} ${JSON.stringify(error)}`))
