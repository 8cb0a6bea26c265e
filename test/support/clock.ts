import { readFileSync } from 'node:fs'

/**
 * For `node --import`: a clock for the process that a test sets ahead, by the seconds that stand in the file named in
 * TEST_CLOCK_FILE. The machine's clock is all that is not real then. What counts monotonically is left alone, and so is
 * OpenSSL's own look at a certificate's end: what it lets pass, the program has to find by itself.
 */
const file = process.env.TEST_CLOCK_FILE ?? ''
const ahead = (): number => Number(readFileSync(file, 'utf8')) * 1000
const RealDate = Date

// A proxy, not a class of its own: dates that Node makes by itself are still instances of it.
globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, made) => Reflect.construct(target, args.length > 0 ? args : [target.now() + ahead()], made),
  get: (target, name) => (name === 'now' ? () => target.now() + ahead() : Reflect.get(target, name)),
})
