import { invalid } from './errors.ts'

const UNITS = { s: 1, m: 60, h: 3600, d: 86_400 } as const

/** `90s`, `15m`, `8h`, `30d` to seconds. Throws `invalid-input`. */
export function parseDuration(text: string, field: string): number {
  const match = /^([1-9][0-9]{0,7})([smhd])$/.exec(text)
  const unit = match?.[2] as keyof typeof UNITS | undefined
  if (!match || !unit)
    throw invalid(field, `${JSON.stringify(text.slice(0, 32))} is not a duration such as 15m, 8h or 30d`)
  return Number(match[1]) * UNITS[unit]
}

/** Seconds to the largest unit that fits exactly: 28800 gives `8h`. */
export function formatDuration(seconds: number): string {
  for (const [unit, size] of [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
  ] as const) {
    if (seconds >= size && seconds % size === 0) return `${seconds / size}${unit}`
  }
  return `${seconds}s`
}
