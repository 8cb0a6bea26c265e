import type { Access, Subject } from '#server/access/index.ts'
import type { Authority, Krl } from '#server/authority/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import { api } from '#shared/api/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { actingOf, machineOf } from '../caller.ts'
import { type Handled, handle } from '../handle.ts'

export type SshRoutesDeps = {
  readonly authority: Pick<Authority, 'issueUserCertificate' | 'issueSessionClientCertificate' | 'currentKrl'>
  readonly access: Pick<Access, 'reachableBy'>
  readonly hosts: Pick<Hosts, 'living' | 'keyTypes'>
}

/** What a session gets: its certificates, and the hosts that it may log in to. */
export function sshRoutes({ authority, access, hosts }: SshRoutesDeps): Handled[] {
  return [
    handle(api.ssh.issueUserCertificate, async request => {
      const { requestId, from, body } = request
      return authority.issueUserCertificate(machineOf(request), {
        publicKey: body.publicKey,
        ...(body.lifetime === undefined ? {} : { lifetime: body.lifetime }),
        requestId,
        from,
      })
    }),
    handle(api.session.renewClientCertificate, async request => {
      const { requestId, from } = request
      const { pem, endsAt } = await authority.issueSessionClientCertificate(machineOf(request), { requestId, from })
      return { certificate: pem, endsAt: endsAt.toISOString() }
    }),
    handle(api.session.hosts, async request => {
      const [reachable, krl] = await Promise.all([
        reachableHosts(access, hosts, actingOf(request)),
        authority.currentKrl(),
      ])
      return { hosts: reachable, revokedHosts: revokedHosts(krl) }
    }),
  ]
}

/** The list for whoever connects to hosts, as the API shows it; the answer to a login has it too. */
export const revokedHosts = ({ ofHosts }: Krl) => ({ base64: toBase64(ofHosts.bytes), signature: ofHosts.signature })

/** The hosts where somebody may log in as the API shows them; the answer to a login has them too. */
export async function reachableHosts(
  access: Pick<Access, 'reachableBy'>,
  hosts: Pick<Hosts, 'living' | 'keyTypes'>,
  subject: Subject,
) {
  const living = hosts.living()
  const byName = new Map(living.map(host => [host.name, host]))
  const reached = access.reachableBy(subject, living)
  const keyTypes = await hosts.keyTypes(reached.map(({ name }) => name))
  return reached.map(({ name, logins }) => {
    const host = byName.get(name)
    const taken = keyTypes.get(name)
    return {
      ...(taken === undefined ? {} : { keyTypes: [...taken] }),
      name,
      logins,
      ...(host === undefined ? {} : { port: host.port }),
      ...(host === undefined || host.aliases.length === 0 ? {} : { aliases: [...host.aliases] }),
      ...(host?.address === undefined ? {} : { address: host.address }),
    }
  })
}
