import { tampered } from './errors.ts'
import { Follower, type FollowerDeps } from './follower.ts'

/** Records of one step, and the pause after it: a million take a few minutes, and some six seconds of the processor. */
const A_STEP = 1_000n
const PAUSE_MS = 100

/**
 * Reads the whole log once more, as a start without memory does, and holds it against what was followed so far. What is followed
 * is new records; that an old one was changed, moved or taken out is found here, and the record is named. Ends early once
 * `isOver` says so. Throws `internal`.
 */
export async function checkHistory(
  deps: Omit<FollowerDeps, 'memory'>,
  followed: Pick<Follower, 'edge'>,
  isOver: () => boolean,
  pause: () => Promise<void> = () => new Promise(resolve => setTimeout(resolve, PAUSE_MS).unref()),
): Promise<void> {
  const { edge } = followed
  const head = { size: edge.size, root: edge.root(), name: 'the log that this server has read' }
  const again = new Follower(deps)
  await again.begin(head.size, [head], false)
  while (again.size < head.size) {
    const left = head.size - again.size
    const step = await again.look(left < A_STEP ? left : A_STEP)
    if (!step) throw tampered(`record ${again.size} of the audit log is missing`)
    step.take()
    await pause()
    if (isOver()) return
  }
}
