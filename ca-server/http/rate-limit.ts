import { KeymanError } from '#shared/errors.ts'
import { parseIpAddress } from '#shared/ip-address.ts'

/** Token buckets, one a key: an address, or an account together with an address, so that no stranger locks an account. */
export type RateLimiter = {
  /** Takes one token; throws `too-many-requests` with the seconds until there is one again. */
  take(key: string): void
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
  return {
    take(key) {
      const at = now()
      const bucket = buckets.get(key)
      const tokens = bucket ? Math.min(burst, bucket.tokens + (at - bucket.at) * perMillisecond) : burst
      const left = tokens >= 1 ? tokens - 1 : tokens
      buckets.delete(key)
      buckets.set(key, { tokens: left, at })
      if (buckets.size > maxKeys) {
        for (const oldest of buckets.keys()) {
          buckets.delete(oldest)
          break
        }
      }
      if (tokens >= 1) return
      const retryAfter = Math.max(1, Math.ceil((1 - left) / perMillisecond / 1000))
      throw new KeymanError('too-many-requests', 'too many requests from here in a short time', {
        retryAfter,
        hint: `try again in ${retryAfter} s`,
      })
    },
  }
}

/** An IPv6 subscriber has a whole /64, so that is what one bucket is for. */
export function addressKey(address: string): string {
  const bytes = address.includes(':') ? parseIpAddress(address.split('%')[0] ?? '') : undefined
  return bytes ? `${bytes.subarray(0, 8).toHex()}/64` : address
}
