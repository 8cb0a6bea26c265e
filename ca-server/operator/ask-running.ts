import { createInterface } from 'node:readline/promises'
import type { z } from 'zod'
import { KeymanError } from '#shared/errors.ts'
import type { ServerConfig } from '../config/index.ts'
import { askServer, type Question } from './operator.ts'
import { howToStart, nameConfig } from './which-config.ts'

/** What commands have in common that ask the running server, and a person whether it is meant. */

/** Throws `unavailable` where no server runs on this data folder. */
export async function askRunning<Answer>(
  config: Pick<ServerConfig, 'dataFolder' | 'file'>,
  asked: Question,
  answer: z.ZodType<Answer>,
): Promise<Answer> {
  const { dataFolder } = config
  const said = await askServer(dataFolder, asked)
  if (said !== undefined) return answer.parse(said)
  throw new KeymanError('unavailable', `no server runs on ${dataFolder}`, {
    hint: config.file === undefined ? `${nameConfig()}; or start it first` : `start it first: ${howToStart(config)}`,
  })
}

/** Whether somebody is there to be asked. */
export const canAsk = (): boolean => process.stdin.isTTY && process.stderr.isTTY

/** Whether the person typed just what was shown. */
export async function typed(shown: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  const answer = await lines.question(`Type ${shown} to go on: `).finally(() => lines.close())
  return answer.trim() === shown
}
