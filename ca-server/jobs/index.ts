/** What happens by the clock, and belongs to no room alone. */
export { compareRows } from './compare-rows.ts'
export { doElected, type ElectedJob } from './elected.ts'
