/** Seconds: an administrative action needs a passkey's assertion at most this old (invariant 7). */
export const FRESH_WITHIN = 600

export const isFresh = (assertedAt: Date, now: Date): boolean =>
  now.getTime() - assertedAt.getTime() <= FRESH_WITHIN * 1000
