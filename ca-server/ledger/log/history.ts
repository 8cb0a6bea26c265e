/** Pure: the history of a database, which a restored backup takes up anew, and the names of their logs, the origins of checkpoints. */
import { incarnationNumber } from '#server/store/index.ts'
import type { Fact } from '#shared/audit/index.ts'

/** A history is in force only if the log itself says that it was begun: a row alone is anybody's. */
export const incarnationFact = (id: string): Fact => ({ id: 'incarnation', is: id })

/**
 * A history that was taken up anew is another log: two trees under one name would be a log that shows two faces, and a
 * checkpoint of the history that was given up could be held against the new one by whoever kept it.
 */
export function logName(organisation: string, incarnation: string): string {
  const number = incarnationNumber(incarnation)
  return `${organisation}/keyman-log${number === 1 ? '' : `-${number}`}`
}

/** How many histories this log's is newer than the other's; undefined where it is the log of somebody else. */
export function newerBy(log: string, other: string): number | undefined {
  const [here, there] = [parts(log), parts(other)]
  return here.base === there.base ? here.number - there.number : undefined
}

function parts(name: string): { base: string; number: number } {
  const [, base = name, number = '1'] = /^(.*)-([2-9]|[1-9][0-9]{1,5})$/.exec(name) ?? []
  return { base, number: Number(number) }
}
