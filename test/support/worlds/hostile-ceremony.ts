import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Context,
  makeCurrent,
  readContext,
  sessionFiles,
  writeContext,
  writeSession,
} from '#cli/context/context.ts'
import { writeFile } from '#cli/context/files.ts'
import { folders } from '#cli/context/folders.ts'
import { utf8 } from '#shared/bytes.ts'
import { encodeTrustDocument, parseTrustDocument, rootFingerprint, type TrustBundle } from '#shared/trust/index.ts'
import { newMachineAuthority } from '../machine-authority.ts'
import { KEYMAN } from '../programs/programs.ts'
import { newWorld, privateKeyFile, sshsig, type TestKey } from '../trust-world.ts'

/**
 * An administrator who holds the root, with the real CLI, and a server that somebody has taken over: it hands out whatever document
 * it likes, keeps what is signed, and goes on serving the bundle that it began with.
 */
export async function openHostileCeremony(change: Partial<Pick<TrustBundle, 'publicUrl' | 'logKey'>> = {}) {
  const home = mkdtempSync(join(tmpdir(), 'keyman-ceremony-'))
  const world = newWorld()
  const machines = newMachineAuthority()
  const published: TrustBundle[] = []
  const hostile = {
    /** What it would have signed: a change of what waits to be signed. */
    slips: (_: TrustBundle): Partial<TrustBundle> => ({}),
    /** Beside the document that it serves. */
    signatures: undefined as readonly string[] | undefined,
    /** What it says of its log, by the address that is asked for. */
    ofLog: (_: URL): unknown => undefined,
  }
  const server = createServer(machines.server(), (request, response) => {
    let text = ''
    request.setEncoding('utf8')
    request.on('data', (chunk: string) => {
      text += chunk
    })
    request.on('end', () => {
      const [status, answer] = answerTo(request.method ?? '', request.url ?? '', text)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
    })
  })
  const answerTo = (method: string, path: string, text: string): [number, unknown] => {
    if (path.startsWith('/v1/audit/')) return [200, hostile.ofLog(new URL(path, machinesUrl))]
    if (method === 'GET')
      return [200, { bundles: [{ ...served, signatures: hostile.signatures ?? served.signatures }] }]
    if (path === '/v1/trust/next') {
      const next = { ...bundle, ...JSON.parse(text), version: bundle.version + 1 }
      return [200, { document: encodeTrustDocument({ ...next, ...hostile.slips(next) }) }]
    }
    published.push(parseTrustDocument(JSON.parse(text).document))
    return [201, { version: bundle.version + 1 }]
  }
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const machinesUrl = `https://localhost:${(server.address() as AddressInfo).port}`
  const bundle = world.bundle({
    ...change,
    machinesUrl,
    x509: [{ purpose: 'machines', certificate: machines.root, state: 'active' }],
  })
  const document = encodeTrustDocument(bundle)
  const served = { document, signatures: [sshsig(world.root, 'keyman-trust', utf8(document))] }

  mkdirSync(join(home, 'run'), { mode: 0o700 })
  const env = {
    PATH: process.env.PATH,
    HOME: home,
    XDG_CONFIG_HOME: join(home, 'config'),
    XDG_STATE_HOME: join(home, 'state'),
    XDG_RUNTIME_DIR: join(home, 'run'),
  }
  const places = folders(env)
  const { organisation, publicUrl, logKey } = bundle
  const context: Context = {
    organisation,
    machinesUrl,
    publicUrl,
    rootFingerprint: rootFingerprint(bundle.roots),
    bundle: served,
    bundleVersion: 1,
    machinesRoot: machines.root,
    logKey,
    hostAuthorities: [],
    hostSuffixes: [],
    hosts: [],
  }
  writeContext(places, context)
  makeCurrent(places, organisation)
  const person = 'alice@example.com'
  const session = 'session_ceremony'
  const client = machines.client(`keyman://${organisation}/person/${person}/${session}`)
  writeFile(sessionFiles(places, organisation).clientKey, client.key, 0o600)
  writeFile(sessionFiles(places, organisation).clientCertificate, client.cert, 0o600)
  const [startedAt, endsAt] = [0, 3_600_000].map(from => new Date(Date.now() + from).toISOString())
  if (!startedAt || !endsAt) throw new Error('two times')
  const times = { startedAt, endsAt, clientEndsAt: endsAt }
  writeSession(places, organisation, { ...times, person, session, owner: true, passkeys: 1, keyIn: 'file' })

  const key = (name: string, of: TestKey): string => {
    const file = join(home, name)
    writeFileSync(file, privateKeyFile(of), { mode: 0o600 })
    writeFileSync(`${file}.pub`, `${of.line}\n`)
    return file
  }
  return {
    hostile,
    bundle,
    /** What the root has signed and the server was handed. */
    published,
    rootFile: key('root', world.root),
    key,
    pinned: () => readContext(places, organisation),
    keyman: (...args: string[]) =>
      new Promise<{ code: number; stdout: string; stderr: string }>(resolve => {
        const child = execFile(process.execPath, [KEYMAN, ...args], { env }, (error, stdout, stderr) =>
          resolve({ code: error === null ? 0 : Number(error.code ?? 255), stdout, stderr }),
        )
        child.stdin?.end()
      }),
    close() {
      server.closeAllConnections()
      server.close()
      rmSync(home, { recursive: true, force: true })
    },
  }
}
