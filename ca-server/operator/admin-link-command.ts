import { createInterface } from 'node:readline/promises'
import { z } from 'zod'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import type { ServerConfig } from '../config/index.ts'
import { askServer } from './operator.ts'

const answer = z.object({ link: z.string(), endsAt: z.string(), gives: z.string() })

/**
 * `keyman-server admin-link`: the operator's recovery. A name that is mistyped would make an administrator whom nobody knows, so
 * that a new one is asked for twice.
 */
export async function adminLinkCommand(
  config: ServerConfig,
  identity: string | undefined,
  isNew: boolean,
): Promise<number> {
  const ask = async (isNew: boolean) => {
    const said = await askServer(config.dataFolder, {
      ask: 'admin-link',
      ...(identity === undefined ? {} : { identity }),
      isNew,
    })
    if (said !== undefined) return answer.parse(said)
    throw new KeymanError('unavailable', `no server runs on ${config.dataFolder}`, {
      hint: 'start it first: keyman-server start',
    })
  }
  const made = await ask(isNew).catch(async (error: unknown) => {
    const isUnknown = error instanceof KeymanError && error.code === 'not-found'
    if (!isUnknown || isNew || !(await isMeant(identity))) throw error
    return ask(true)
  })
  process.stdout.write(`${made.link}\n`)
  process.stderr.write(`It gives ${made.gives}.\n`)
  process.stderr.write(`Good once, until ${made.endsAt}. It was recorded in the audit log.\n`)
  return EXIT.done
}

/** False where nobody is there to be asked. */
async function isMeant(identity: string | undefined): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return false
  const word = identity ?? 'new'
  process.stderr.write(
    identity === undefined
      ? 'No person was named: whoever opens the link becomes a new owner, by any name.\n'
      : `Nobody here is called ${identity}: the link makes a new owner of that name.\n`,
  )
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  const typed = await lines.question(`Type ${word} to go on: `).finally(() => lines.close())
  return typed.trim() === word
}
