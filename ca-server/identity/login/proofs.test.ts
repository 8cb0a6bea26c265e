import { describe, expect, it } from 'vitest'
import { makeMachine, prove, random } from '#test/support/worlds/identity-world.ts'
import { createProofs } from './proofs.ts'

const clock = { now: new Date('2026-03-01T12:00:00Z') }
const key = random(32)
const proofs = createProofs({ now: () => clock.now, random }, key)
const machine = makeMachine()
const parts = { purpose: 'login', sshPublicKey: machine.ssh.publicKey, clientSpki: machine.client.spki } as const
const check = (proof: ReturnType<typeof prove>, other: Partial<Parameters<typeof proofs.checkBoth>[0]> = {}) =>
  proofs.checkBoth({ ...parts, ...other, proof })
const later = (seconds: number) => {
  clock.now = new Date(clock.now.getTime() + seconds * 1000)
}

describe('a proof of possession', () => {
  it('that both keys made for this challenge, purpose and request is good, on every server that has the key', () => {
    const challenge = proofs.challenge()
    const id = check(prove(machine, challenge))
    const other = createProofs({ now: () => clock.now, random }, key)
    expect(other.checkBoth({ ...parts, proof: prove(machine, challenge) })).toBe(id)
    expect(check(prove(machine, proofs.challenge()))).not.toBe(id)
  })

  it('made for another request, purpose or namespace is refused', () => {
    const challenge = proofs.challenge()
    const denied = expect.objectContaining({ code: 'denied' })
    const other = makeMachine()
    expect(() => check(prove(machine, challenge), { sshPublicKey: other.ssh.publicKey })).toThrow(denied)
    expect(() => check(prove(machine, challenge), { clientSpki: other.client.spki })).toThrow(denied)
    expect(() => check(prove(machine, challenge, 'join'))).toThrow(denied)
    expect(() => check(prove(machine, challenge, 'login', 'git'))).toThrow(denied)
    expect(() => check({ ...prove(machine, challenge), challenge: proofs.challenge() })).toThrow(denied)
    const mixed = { ...prove(machine, challenge), clientSignature: prove(other, challenge).clientSignature }
    expect(() => check(mixed)).toThrow(denied)
    expect(() => check({ ...prove(machine, challenge), clientSignature: '' })).toThrow(denied)
    expect(check(prove(machine, challenge))).toEqual(expect.any(String))
  })

  it('with a challenge that is forged, changed, of another server or older than two minutes is refused', () => {
    const expired = expect.objectContaining({ code: 'expired' })
    const foreign = createProofs({ now: () => clock.now, random }, random(32))
    const challenge = proofs.challenge()
    const changed = `${challenge.startsWith('A') ? 'B' : 'A'}${challenge.slice(1)}`
    for (const wrong of ['', 'AAAA', changed, challenge.slice(0, -4), `${challenge}AAAA`, foreign.challenge()])
      expect(() => check(prove(machine, wrong))).toThrow(expired)
    later(119)
    expect(check(prove(machine, challenge))).toEqual(expect.any(String))
    later(2)
    expect(() => check(prove(machine, challenge))).toThrow(expired)
    const early = proofs.challenge()
    later(-10)
    expect(() => check(prove(machine, early))).toThrow(expired)
  })
})
