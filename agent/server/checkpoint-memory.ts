import { fromHex } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseCheckpoint, verifyCheckpoint, verifyConsistency } from '#shared/merkle/index.ts'
import { logOf, type TrustBundle } from '#shared/trust/index.ts'

/** Pure: hosts hold the log's memory. A server that has taken something back, or shows two logs, is found out here. */

type Frame = { readonly checkpoint: string; readonly proof: readonly string[] }

/**
 * Holds a signed tree head against the remembered one and gives the one to remember. A smaller tree that is proven to be
 * the beginning of ours comes from a server that is behind: no alarm, and ours is kept. Throws `denied` for anything else
 * that does not extend what we know: the caller raises the alarm.
 */
export function checkpointToKeep(frame: Frame, remembered: string | undefined, bundle: TrustBundle): string {
  const offered = verified(frame.checkpoint, bundle)
  if (remembered === undefined) return frame.checkpoint
  // Verified when it was stored; the log key may have changed since.
  const held = parseCheckpoint(remembered)
  const behind = offered.size < held.size
  const [older, newer] = behind ? [offered, held] : [held, offered]
  if (!verifyConsistency(older, newer, frame.proof.map(fromHex))) throw alarm(held.size, offered.size)
  return behind ? remembered : frame.checkpoint
}

function verified(note: string, bundle: TrustBundle) {
  try {
    return verifyCheckpoint(note, logOf(bundle))
  } catch (error) {
    throw new KeymanError('denied', 'ALARM: a tree head of the log is not signed by a log key', { cause: error })
  }
}

const alarm = (held: bigint, offered: bigint): KeymanError =>
  new KeymanError(
    'denied',
    `ALARM: the log of ${offered} records does not extend the one of ${held} records that this host remembers`,
    { hint: 'records were lost, changed or forked: keyman audit verify says more' },
  )
