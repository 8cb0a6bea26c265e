/**
 * Pure: the id of a database's history says the how-many-eth it is, so that whoever remembers only ids knows which is newer. The first one's is a
 * plain UUID, number 1.
 */
export function incarnationNumber(id: string): number {
  const [, number] = /^r([1-9][0-9]{0,5})-/.exec(id) ?? []
  return number === undefined ? 1 : Number(number)
}

export const incarnationId = (number: number, uuid: string): string => `r${number}-${uuid}`
