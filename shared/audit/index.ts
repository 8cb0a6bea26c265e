/** What an auditor checks of a log whose tree is whole: whether it says what the passkeys said. Pure. */
export { AssertionAudit, type AssertionReport, type Remark } from './assertions.ts'
export { RECORD_KINDS, type RecordKind } from './kinds.ts'
export { factSaid } from './record.ts'
export { passkeySaid, touchSaid } from './said.ts'
