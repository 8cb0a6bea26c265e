/** What happens by the clock, and belongs to no room alone. */
export { compareRows } from './compare-rows.ts'
