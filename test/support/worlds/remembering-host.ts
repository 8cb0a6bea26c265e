import { checkpointToKeep } from '#agent/server/checkpoint-memory.ts'
import { type VerifiedState, verifyState } from '#agent/server/verify-state.ts'
import type { Memory } from '#agent/state/memory.ts'
import { call } from '#cli/server/client.ts'
import { api, type hostStream } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { decodeKrl, isRevoked, parseCertificate, parsePublicKey } from '#shared/ssh/index.ts'
import { hostStreamOf, type JoinedHost } from './attack-world.ts'

/** What a host remembers, by the agent's own rules, without sshd's files. */
export class RememberingHost {
  memory: Memory
  state: VerifiedState | undefined
  /** As it came. */
  sent: hostStream.DesiredState | undefined
  readonly #host: JoinedHost
  constructor(host: JoinedHost, bundle: { document: string; signatures: string[] }, incarnation: string) {
    this.#host = host
    this.memory = { bundle, incarnation, revision: 0, krlVersion: '0', canary: [], reloadPending: false }
  }

  /** Says hello, takes the state that comes, or throws what speaks against it. */
  async comeBack(): Promise<void> {
    const first = Promise.withResolvers<hostStream.FrameToAgent>()
    const stream = await hostStreamOf(this.#host, first.resolve)
    const { incarnation, revision, checkpoint } = this.memory
    stream.send({
      type: 'hello',
      revision,
      incarnation,
      ...(checkpoint === undefined ? {} : { checkpoint }),
      agent: 'test',
      sshd: 'none',
    })
    void stream.ended.then(why => first.reject(new Error(why)))
    try {
      const frame = await first.promise
      if (frame.type !== 'state') return
      const state = verifyState(frame.state, this.memory)
      const known = state.incarnation === incarnation ? checkpoint : undefined
      this.memory = {
        ...this.memory,
        bundle: { document: state.trust.signed.document, signatures: [...state.trust.signed.signatures] },
        incarnation: state.incarnation,
        revision: state.revision,
        krlVersion: String(state.krl.version),
        checkpoint: frame.log ? checkpointToKeep(frame.log, known, state.trust.bundle) : known,
      }
      this.state = state
      this.sent = frame.state
      stream.send({ type: 'in-force', revision: state.revision })
    } finally {
      stream.close()
    }
  }

  refusesKey(line: string): boolean {
    const { bytes } = this.state?.krl ?? {}
    return bytes !== undefined && isRevoked(decodeKrl(bytes, 'krl'), parsePublicKey(line))
  }

  /** What the server makes of a list that this host reports, or the code of the refusal. */
  async reports({ base64, signature }: Pick<hostStream.DesiredState['krl'], 'base64' | 'signature'>): Promise<unknown> {
    try {
      return await call(this.#host.connection, api.hostSelf.reportRevoked, { body: { base64, signature } })
    } catch (error) {
      return error instanceof KeymanError ? error.code : error
    }
  }

  refuses(line: string): boolean {
    const { bytes } = this.state?.krl ?? {}
    return bytes !== undefined && isRevoked(decodeKrl(bytes, 'krl'), parseCertificate(line, 'certificate'))
  }
}
