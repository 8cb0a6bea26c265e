/** What an auditor checks of a log whose tree is whole: whether it says what the passkeys said. Pure. */
export { AssertionAudit, type AssertionReport, type Remark } from './assertions.ts'
export { endedFact, endedId, endOf, isEndedWithAll } from './ended.ts'
export { encodeFacts, type Fact, Facts, factsKept, failedFact, failedId } from './facts.ts'
export { RECORD_KINDS, type RecordKind } from './kinds.ts'
export * from './ranges.ts'
export * from './revoked.ts'
export { passkeySaid, touchSaid } from './said.ts'
