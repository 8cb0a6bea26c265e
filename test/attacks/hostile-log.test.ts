import { generateKeyPairSync, sign } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { fromBase64Url, toBase64, toHex, utf8 } from '#shared/bytes.ts'
import { encodeCheckpoint, leafHash, noteKeyId, signedNote } from '#shared/merkle/index.ts'
import { treeHead } from '#test/support/tree-head.ts'
import { openHostileCeremony } from '#test/support/worlds/hostile-ceremony.ts'
import { enrol, type IdentityWorld, login, ORIGIN, openIdentityWorld } from '#test/support/worlds/identity-world.ts'

/** The real CLI at a server that somebody has taken over: it writes into its log what it likes, and signs that with the log's own key. */
const LOG = 'keyman.example.com/log'
const logKey = generateKeyPairSync('ed25519')
const publicKey = fromBase64Url(logKey.publicKey.export({ format: 'jwk' }).x ?? '')
let world: IdentityWorld
let records: readonly string[]

beforeAll(async () => {
  world = await openIdentityWorld()
  await login(world, (await enrol(world, 'alice@example.com', { owner: true })).authenticator)
  records = (await world.ledger.list({ limit: 1000 })).map(({ record }) => record)
})
afterAll(() => world?.close())

/** What the CLI finds, that remembers nothing yet, in a log of just these records, each of them proven by the tree. */
async function verify(log: readonly string[], ...args: string[]) {
  const leaves = log.map(record => leafHash(utf8(record)))
  const text = encodeCheckpoint({ origin: LOG, size: BigInt(log.length), root: treeHead(leaves) })
  const keyId = noteKeyId(LOG, publicKey)
  const signer = { name: LOG, keyId, sign: async (of: Uint8Array) => new Uint8Array(sign(null, of, logKey.privateKey)) }
  const checkpoint = await signedNote(text, signer)
  const all = log.map((record, n) => ({ index: String(n), record, leafHash: toHex(leaves[n] ?? new Uint8Array()) }))
  const ceremony = await openHostileCeremony({ publicUrl: ORIGIN, logKey: { name: LOG, key: toBase64(publicKey) } })
  ceremony.hostile.ofLog = ({ pathname, searchParams }) => {
    if (pathname.endsWith('/checkpoint')) return { checkpoint }
    return pathname.endsWith('/consistency') ? { proof: [] } : { records: all.slice(Number(searchParams.get('from'))) }
  }
  return ceremony.keyman('audit', 'verify', ...args).finally(ceremony.close)
}

it('a login of its own making, in a log that is whole: the record is named; where a passkey was touched for it, it is good', async () => {
  const made = records.findIndex(record => record.includes('"flow":"loopback"'))
  // The machine's lifetime is one thing that the passkey was touched for.
  const forged = records.map((record, n) =>
    n === made ? record.replace('"lifetime":28800', '"lifetime":28801') : record,
  )
  const found = await verify(forged)
  expect([found.code, found.stdout]).toEqual([9, expect.stringContaining('0 good, 1 failed, 0 not checkable.')])
  expect(found.stdout).toContain(
    `failed: record ${made}, login: what it says is not what the passkey was touched for\n`,
  )
  const bare = records.map((record, n) => (n === made ? record.replace(/"details":.*,"facts":/, '"facts":') : record))
  const unproven = await verify(bare, '--json')
  expect([unproven.code, JSON.parse(unproven.stdout)]).toMatchObject([
    9,
    { ok: false, passkeys: { good: 0, failed: [], notCheckable: [{ record: String(made), kind: 'login' }] } },
  ])
  const real = await verify(records)
  expect([real.code, real.stdout]).toEqual([0, expect.stringContaining('1 good, 0 failed, 0 not checkable.')])
})
