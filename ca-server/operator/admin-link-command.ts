import { z } from 'zod'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import type { ServerConfig } from '../config/index.ts'
import { askRunning, canAsk, typed } from './ask-running.ts'

const answer = z.object({ link: z.string(), endsAt: z.string(), gives: z.string() })

/**
 * `keyman-server admin-link`: the operator's recovery. A name that is mistyped would make an owner whom nobody knows, so
 * that a new one is asked for twice.
 */
export async function adminLinkCommand(
  config: ServerConfig,
  identity: string | undefined,
  isNew: boolean,
): Promise<number> {
  const named = identity === undefined ? {} : { identity }
  const ask = (isNew: boolean) => askRunning(config, { ask: 'admin-link', ...named, isNew }, answer)
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
  if (!canAsk()) return false
  process.stderr.write(
    identity === undefined
      ? 'No person was named: whoever opens the link becomes a new owner, by any name.\n'
      : `Nobody here is called ${identity}: the link makes a new owner of that name.\n`,
  )
  return typed(identity ?? 'new')
}
