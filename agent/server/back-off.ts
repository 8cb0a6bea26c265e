import { randomInt } from 'node:crypto'

const FIRST_MS = 1000
const LONGEST_MS = 60_000

/** Milliseconds to wait after so many failures: doubles up to a minute, and anything between nothing and that: a fleet must not come back in one moment. */
export const backOff = (failures: number): number =>
  100 + randomInt(Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures, 16)))
