import { KeymanError } from '#shared/errors.ts'

/** Token buckets, one a key: an address, or an account together with an address, so that no stranger locks an account. */
export type RateLimiter = {
  /** Takes one token, or `cost`; throws `too-many-requests` with the seconds until there are so many again. */
  take(key: string, cost?: number): void
  /** Takes so many, as far as there are. */
  charge(key: string, cost: number): void
}

/** `burst` tokens at once, then `perMinute`. `now`: monotonic milliseconds. At most `maxKeys` buckets are kept; the one unused for longest goes. */
export function createRateLimiter(limits: {
  burst: number
  perMinute: number
  now: () => number
  maxKeys?: number
}): RateLimiter {
  const { burst, perMinute, now, maxKeys = 20_000 } = limits
  const perMillisecond = perMinute / 60_000
  /** A Map keeps the order of insertion: a bucket is put to its end when it is used. */
  const buckets = new Map<string, { tokens: number; at: number }>()
  /** Gives what there was before. */
  const spend = (key: string, spent: (tokens: number) => number): number => {
    const at = now()
    const bucket = buckets.get(key)
    const tokens = bucket ? Math.min(burst, bucket.tokens + (at - bucket.at) * perMillisecond) : burst
    buckets.delete(key)
    buckets.set(key, { tokens: tokens - spent(tokens), at })
    if (buckets.size > maxKeys) {
      for (const oldest of buckets.keys()) {
        buckets.delete(oldest)
        break
      }
    }
    return tokens
  }
  return {
    take(key, cost = 1) {
      const wanted = Math.min(cost, burst)
      const tokens = spend(key, there => (there >= wanted ? wanted : 0))
      if (tokens >= wanted) return
      const retryAfter = Math.max(1, Math.ceil((wanted - tokens) / perMillisecond / 1000))
      throw new KeymanError('too-many-requests', 'too many requests from here in a short time', {
        retryAfter,
        hint: `try again in ${retryAfter} s`,
      })
    },
    charge: (key, cost) => void spend(key, there => Math.min(there, cost)),
  }
}
