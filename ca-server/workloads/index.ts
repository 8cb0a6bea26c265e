/** The door of this room: machine identities of projects, and the one session that each may have. */
export { createWorkloads } from './create-workloads.ts'
export type { Invited, NewWorkload, Proven, Workloads, WorkloadsDeps, WorkloadView } from './port.ts'
export { takeWorkloadsIn } from './restore.ts'
export { workloadRows } from './stated-rows.ts'
