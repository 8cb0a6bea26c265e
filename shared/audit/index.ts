/** What an auditor checks of a log whose tree is whole: whether it says what the passkeys said. Pure. */
export { AssertionAudit, type AssertionReport, type Remark } from './assertions.ts'
export { type EndOrder, type EndSelector, endOrderFact, readEndOrders } from './end-orders.ts'
export {
  endedFact,
  endedId,
  endOf,
  isEndedWithAll,
  passkeyEnd,
  passkeyOfId,
  passkeysEndedId,
  resetLinkId,
} from './ended.ts'
export { encodeFacts, type Fact, Facts, factsKept, failedFact, failedId } from './facts.ts'
export { FactsAudit, type FactsReport } from './facts-audit.ts'
export { RECORD_KINDS, type RecordKind } from './kinds.ts'
export * from './ranges.ts'
export { type AuditRecord, readRecord } from './record.ts'
export * from './revoked.ts'
export { passkeySaid, touchSaid, workloadSessionId } from './said.ts'
export { StateAudit, type StateRemark, type StateReport, type StateRow } from './state-audit.ts'
export { idsOf, STATE_KINDS, type StateKind } from './state-kinds.ts'
