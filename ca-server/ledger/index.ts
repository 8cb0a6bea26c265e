/**
 * The ledger: the audit log and the one way to a certificate's record. Record, then sign, then release: what exists is always
 * a subset of what the log says, whatever crashes when.
 */
export { endedFact, endedId, type Fact, isEndedWithAll } from '#shared/audit/index.ts'
export { canonicalJson, type JsonObject, type JsonValue } from '#shared/canonical-json.ts'
export { adoptLog, readUnsealedLog, type UnsealedLog } from './adopt.ts'
export { createLedger, isEmptyLog } from './create-ledger.ts'
export { type Actor, actorName, type CertificateFacts, type Entry, RECORD_KINDS, type RecordKind } from './entry.ts'
export { EpochsChanged } from './errors.ts'
export { incarnationFact, logName } from './log/history.ts'
export { type LogMemory, openLogMemory } from './log/memory.ts'
export type { LogKeys } from './log/sequencer.ts'
export type { NewerLog } from './newer-log.ts'
export type { IssueRequest, Ledger, LedgerDeps, StoredRecord } from './port.ts'
export { MAX_AGE_MS, Recorded } from './recorded.ts'
export type { CertificateSelector, Epoch, IssuedCertificate, LiveKey } from './records.ts'
export { beginIncarnation, type Lost, whatIsLost } from './restore.ts'
export { type Page, type StatedRows, UNREADABLE, WHOLE } from './rows.ts'
export { makeSealKey, openSealKey, serverSecret } from './server-secret.ts'
