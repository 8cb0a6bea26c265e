/** Pure: whether the records of a log without seals say of a row what it says, as far as they named it. */
import { z } from 'zod'
import { canonicalJson, type Fact } from '#server/ledger/index.ts'
import { fromBase64Url, toHex } from '#shared/bytes.ts'

const record = z.looseObject({
  kind: z.string(),
  target: z.string().optional(),
  actor: z.looseObject({ identity: z.string().optional() }),
  details: z.record(z.string(), z.unknown()).optional(),
})

/** What the log makes of each thing that it names; the newest record about it counts. */
type Said = Map<string, (is: Record<string, unknown>) => boolean>
const always = () => true
const text = z.string().catch('')
/** One text for one value, in whichever order its members stand. */
const spelled = (...parts: readonly unknown[]): string => canonicalJson(z.json().parse(parts.map(part => part ?? null)))

export function explained(records: readonly string[]): (fact: Fact) => boolean {
  const said: Said = new Map()
  for (const line of records) {
    const { kind, target = '', details = {}, actor } = record.parse(JSON.parse(line))
    switch (kind) {
      case 'enrolled': {
        // As records say it by now, and as those did that are taken over.
        const owner = (details.owner ?? details.administrator) === true
        said.set(`person:${target}`, is => is.administrator === owner && is.state === 'active')
        said.set('relying-party', always)
        break
      }
      case 'person-disabled':
      case 'person-enabled': {
        const before = said.get(`person:${target}`)
        const state = kind === 'person-disabled' ? 'disabled' : 'active'
        if (before) said.set(`person:${target}`, is => is.state === state && before({ ...is, state: 'active' }))
        break
      }
      case 'passkey-added': {
        const person = actor.identity
        const [credentialId, publicKey] = [details.credentialId, details.publicKey].map(part =>
          toHex(fromBase64Url(text.parse(part))),
        )
        said.set(
          `passkey:${target}`,
          is => is.person === person && is.credentialId === credentialId && is.publicKey === publicKey,
        )
        break
      }
      case 'passkey-removed':
        said.delete(`passkey:${target}`)
        break
      case 'grant-added': {
        const wanted = spelled(details.who, details.login, details.hosts, details.maxLifetime, details.endsAt)
        said.set(`grant:${target}`, is => spelled(is.who, is.login, is.hosts, is.maxLifetime, is.endsAt) === wanted)
        break
      }
      case 'grant-removed':
        said.delete(`grant:${target}`)
        break
      case 'team-changed': {
        const id = `member:${target} ${text.parse(details.person)}`
        if (details.change === 'added') said.set(id, always)
        else said.delete(id)
        break
      }
      case 'host-added':
      case 'host-joined':
        said.set(`host name ${target}`, always)
        break
      case 'host-removed':
        said.delete(`host name ${target}`)
        break
    }
  }
  return ({ id, is }) => {
    // What is revoked, or a serial, lets nobody in, whoever says so.
    if (/^(revoked|revoked-key|krl-version|serials):/.test(id)) return true
    const row = z.record(z.string(), z.unknown()).catch({}).parse(is)
    const key = id.startsWith('host:') ? `host name ${text.parse(row.name)}` : id
    return said.get(key)?.(row) === true
  }
}
