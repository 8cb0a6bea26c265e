/** Pure: serials as intervals. */

/** Both ends included. */
export type Interval = { readonly from: bigint; readonly to: bigint }

/** The fewest intervals that hold just these serials, in order. */
export function ranges(serials: readonly bigint[]): Interval[] {
  return merged(serials.map(serial => ({ from: serial, to: serial })))
}

/** The fewest intervals that hold what these hold, in order; they may overlap. */
export function merged(intervals: readonly Interval[]): Interval[] {
  const found: { from: bigint; to: bigint }[] = []
  for (const { from, to } of intervals.toSorted((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0))) {
    const last = found.at(-1)
    if (!last || from > last.to + 1n) found.push({ from, to })
    else if (to > last.to) last.to = to
  }
  return found
}
