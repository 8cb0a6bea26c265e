import { api } from '#shared/api/index.ts'
import { isWorkloadPrincipal, type WorkloadPrincipal, workloadNamed } from '#shared/names.ts'
import { remark } from '../terminal/terminal.ts'
import { may } from './may.ts'
import { callAsPerson } from './session-call.ts'

/**
 * A grant or a place in a team may come before its person does; but it may also be a name that was mistyped, or somebody who can not
 * sign in. Says so; what was done stands, and a look that fails is no matter of it.
 */
export async function remarkOnPersons(whose: readonly string[]): Promise<void> {
  const workloads = whose.filter(isWorkloadPrincipal)
  if (workloads.length > 0) await remarkOnWorkloads(workloads)
  const names = whose.filter(who => !who.startsWith('team:') && !isWorkloadPrincipal(who))
  if (names.length === 0) return
  const look = async () => ((await may('person.read')) ? (await callAsPerson(api.persons.list)).persons : undefined)
  const persons = await look().catch(() => undefined)
  if (persons === undefined) return
  for (const name of names) {
    const person = persons.find(({ identity }) => identity === name)
    if (!person) remark(`Nobody called ${name} has a passkey here yet: keyman person invite ${name}`)
    else if (person.state === 'disabled')
      remark(`${name} is disabled, and gets in nowhere until then: keyman person enable ${name}`)
    else if (person.passkeys === 0) remark(`${name} has no passkey here: keyman person reset ${name}`)
  }
}

/** One that is not there is refused by the server. */
async function remarkOnWorkloads(whose: readonly WorkloadPrincipal[]): Promise<void> {
  const look = async () =>
    (await may('workload.read')) ? (await callAsPerson(api.workloads.list)).workloads : undefined
  const workloads = await look().catch(() => undefined)
  if (workloads === undefined) return
  for (const name of whose.map(workloadNamed)) {
    const workload = workloads.find(each => each.name === name)
    if (workload?.state === 'invited')
      remark(`Nothing has joined as ${name} yet; if its token has ended or was lost: keyman workload token ${name}`)
    else if (workload?.state === 'ended') remark(`The session of ${name} has ended: keyman workload token ${name}`)
  }
}
