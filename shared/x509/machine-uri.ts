import { invalid } from '../errors.ts'
import {
  type HostName,
  isHostName,
  isPersonIdentity,
  isWorkloadName,
  type PersonIdentity,
  printable,
  type WorkloadName,
} from '../names.ts'

/**
 * Pure: who a client certificate of the machine authority stands for, as the one URI among its subject alternative names:
 * `keyman://ORG/person/alice@example.com/session/SESSION`, `keyman://ORG/workload/payments/prod/backup/session/SESSION` or
 * `keyman://ORG/host/web1.example.com`.
 * Compared as a string, never normalised: every character is from an allow-list that needs no percent-encoding.
 */
export type MachineIdentity =
  | {
      readonly kind: 'person'
      readonly organisation: string
      readonly identity: PersonIdentity
      readonly session: string
    }
  | {
      readonly kind: 'workload'
      readonly organisation: string
      readonly name: WorkloadName
      readonly session: string
    }
  | { readonly kind: 'host'; readonly organisation: string; readonly name: HostName }

const ORGANISATION = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const SESSION = /^[A-Za-z0-9_-]{8,80}$/

/** An organisation's short name: one DNS label. */
export const isOrganisation = (text: string): boolean => ORGANISATION.test(text)

export const machineUri = {
  /** Throws `invalid-input` on a name that does not fit. */
  person(organisation: string, identity: string, session: string): string {
    const uri = `keyman://${organisation}/person/${identity}/session/${session}`
    machineUri.parse(uri)
    return uri
  },

  /** Throws `invalid-input` on a name that does not fit. */
  workload(organisation: string, name: string, session: string): string {
    const uri = `keyman://${organisation}/workload/${name}/session/${session}`
    machineUri.parse(uri)
    return uri
  },

  /** Throws `invalid-input` on a name that does not fit. */
  host(organisation: string, name: string): string {
    const uri = `keyman://${organisation}/host/${name}`
    machineUri.parse(uri)
    return uri
  },

  /** Strict: whatever the three functions above would not make is refused with `invalid-input`. */
  parse(uri: string): MachineIdentity {
    if (uri.length <= 512) {
      // An identity may hold slashes after its '@', and a workload does; a session never does: so the last '/session/' is the border.
      const [, organisation = '', kind, rest = ''] =
        /^keyman:\/\/([^/]*)\/(person|workload|host)\/(.*)$/.exec(uri) ?? []
      const [, name = '', session = ''] = /^(.*)\/session\/([^/]*)$/.exec(rest) ?? []
      if (ORGANISATION.test(organisation)) {
        if (kind === 'host' && isHostName(rest)) return { kind, organisation, name: rest }
        if (kind === 'person' && isPersonIdentity(name) && SESSION.test(session))
          return { kind, organisation, identity: name, session }
        if (kind === 'workload' && isWorkloadName(name) && SESSION.test(session))
          return { kind, organisation, name, session }
      }
    }
    throw invalid('uri', `${printable(uri)} is not the name of a session or of a host`)
  },
} as const
