import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { createAuthority, createLogKeys, createTrust, openBundles, openLogKeys } from '#server/authority/index.ts'
import { openKeystore } from '#server/keystore/index.ts'
import { logName } from '#server/ledger/index.ts'
import { openPins } from '#server/pins/index.ts'
import { api } from '#shared/api/index.ts'
import { freePort } from '#test/support/free-port.ts'
import { type ApiSession, enrol, logIn, sessionConnection } from '#test/support/people/api-person.ts'
import { openStandingWorld, type StandingWorld } from '#test/support/worlds/standing-world.ts'
import { authorityDeps, trustDeps } from './build-rooms.ts'
import { type Listening, listen } from './listen.ts'
import { createLog } from './log.ts'

let world: StandingWorld
let listening: Listening
let session: ApiSession
beforeAll(async () => {
  world = await openStandingWorld({ KEYMAN_PAGES_LISTEN: `127.0.0.1:${await freePort()}` })
  listening = await listen(world.services, createLog({ write: () => undefined }))
  const { config, identity } = world.services
  const target = { pagesUrl: config.publicUrl, machinesUrl: config.machines.url }
  const link = await identity.enrolment.firstOwnerLink('alice@example.com')
  session = await logIn(target, await enrol(target, link ?? '', 'alice@example.com'))
})
afterAll(async () => {
  await listening?.close()
  await world?.close()
})

/** The authority as another server has it, whose second keystore this one has not. */
async function authorityBeside() {
  const { services } = world
  const { store, ledger, keystore, identity, access, workloads, config } = services
  const folder = join(config.dataFolder, 'standby')
  const standbyKeystore = await openKeystore({ kind: 'software', folder, unlock: { keyFile: `${folder}.key` } })
  const alarm = (message: string) => {
    throw new Error(message)
  }
  const pins = openPins(config.dataFolder)
  const bundles = await openBundles({ store, pins, dataFolder: config.dataFolder, alarm })
  const logKeys = createLogKeys({
    name: logName(config.organisation, store.incarnation),
    held: await openLogKeys([{ name: 'keystore', keystore }]),
    bundle: () => bundles.current(),
  })
  const parts = {
    store,
    ledger,
    keystore,
    standbyKeystore,
    identity,
    access,
    workloads,
    config,
    bundles,
    logKeys,
    now: () => new Date(),
    random: (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes)),
    alarm,
    onError: () => undefined,
  }
  const authority = await createAuthority(authorityDeps(parts))
  await createTrust(trustDeps({ ...parts, authority }))
  return { authority, close: () => standbyKeystore.close() }
}

it('lets in whom a machine authority has signed that another server made since, without a restart', async () => {
  const { services, at } = world
  expect(await call(session.connection, api.session.show)).toMatchObject({ person: 'alice@example.com' })
  const beside = await authorityBeside()
  const labels = (await beside.authority.standby()).map(({ to }) => to)
  await beside.authority.switchToStandby({ actor: { kind: 'operator' }, ...at() }, labels)
  const certificate = session.connection.client?.certificate ?? ''
  const caller = await services.identity.callerFromClientCertificate(new X509Certificate(certificate).raw, true)
  if (caller.kind !== 'person' || caller.via !== 'machine') throw new Error(caller.kind)
  const { pem } = await beside.authority.issueSessionClientCertificate(caller, at())
  await services.trust.reload()
  await services.authority.reload()
  const connection = sessionConnection(session.connection, session.keys, pem)
  expect(await call(connection, api.session.show)).toMatchObject({ person: 'alice@example.com' })
  await beside.close()
})
