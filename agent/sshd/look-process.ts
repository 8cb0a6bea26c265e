import { text } from 'node:stream/consumers'
import { findAround, lookSchema } from './findings.ts'
import { openHomes } from './homes.ts'

/**
 * The process that looks into people's homes (see `look-around.ts`): one question on stdin, one line of an answer on stdout.
 * A thread that waits for a home holds every other way to end up.
 */
const { config, now, before } = lookSchema.parse(JSON.parse(await text(process.stdin)))
const found = await findAround(config, new Date(now), openHomes(), before)
process.stdout.write(`${JSON.stringify(found)}\n`, () => process.kill(process.pid, 'SIGKILL'))
