import { tampered } from '../errors.ts'
import { Follower, type FollowerDeps } from './follower.ts'

/** Records of one step, and the pause after it: a million take a few minutes, and some six seconds of the processor. */
const A_STEP = 1_000n
const PAUSE_MS = 100

/**
 * Reads the whole log once more, as a start without memory does, and holds it against what was followed so far. What is followed
 * is new records; that an old one was changed, moved or taken out is found here, and the record is named. So is one that stands there
 * twice: its seal is the same. (What it says of rows is never taken twice, and is found when it is followed.) Ends early once
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
  // Eight bytes of each seal: a million records are 8 MB, and no two are the same by chance.
  const seals = new BigUint64Array(Number(head.size))
  while (again.size < head.size) {
    const left = head.size - again.size
    const step = await again.look(left < A_STEP ? left : A_STEP)
    if (!step) throw tampered(`record ${again.size} of the audit log is missing`)
    step.take()
    for (const [n, seal] of step.seals.entries())
      if (seal) seals[Number(step.from) + n] = new DataView(seal.buffer, seal.byteOffset).getBigUint64(0)
    await pause()
    if (isOver()) return
  }
  const [first, second] = twice(seals) ?? []
  if (first !== undefined) throw tampered(`record ${second} of the audit log is record ${first}, written once more`)
}

/** The places of a value that stands there twice; 0 stands for none. */
function twice(values: BigUint64Array): readonly [number, number] | undefined {
  const sorted = values.toSorted()
  const found = sorted.find((value, n) => value !== 0n && value === sorted[n + 1])
  if (found === undefined) return undefined
  const first = values.indexOf(found)
  return [first, values.indexOf(found, first + 1)]
}
