import { createInterface } from 'node:readline/promises'
import { z } from 'zod'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import type { ServerConfig } from '../config/index.ts'
import { askServer } from './operator.ts'

const answer = z.object({
  switched: z.array(z.object({ purpose: z.string(), from: z.string(), to: z.string() })),
  /** Whether the trust bundle says so already. */
  isPublished: z.boolean(),
  /** What is lost with the keystore of before, beside the keys. */
  remarks: z.array(z.string()),
})

/**
 * `keyman-server authority switch-to-standby`: the operator's answer to a keystore that is lost. The running server does it, which still knows what
 * was opened by that keystore.
 */
export async function switchCommand(config: ServerConfig, isConfirmed: boolean): Promise<number> {
  const ask = async (isConfirmed: boolean) => {
    const said = await askServer(config.dataFolder, { ask: 'switch-to-standby', isConfirmed })
    if (said !== undefined) return answer.parse(said)
    throw new KeymanError('unavailable', `no server runs on ${config.dataFolder}`, {
      hint: 'start it first: keyman-server start',
    })
  }
  const planned = await ask(false)
  process.stderr.write('These keys would sign from now on, and those before them never again:\n')
  for (const { purpose, from, to } of planned.switched)
    process.stderr.write(`  ${purpose.padEnd(9)} ${from} -> ${to}\n`)
  process.stderr.write('Hosts and laptops trust them already; what was signed stays good.\n')
  if (!isConfirmed && !(await isMeant())) {
    process.stderr.write('Nothing was changed.\n')
    return EXIT.failed
  }
  const { switched, isPublished, remarks } = await ask(true)
  process.stdout.write(`${switched.map(({ to }) => to).join(' ')}\n`)
  process.stderr.write('Switched. It was recorded in the audit log.\n')
  if (!isPublished)
    process.stderr.write('The trust bundle that says so waits for the root of trust: keyman trust sign\n')
  for (const remark of remarks) process.stderr.write(`${remark}\n`)
  return EXIT.done
}

/** Throws where nobody is there to be asked. */
async function isMeant(): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new KeymanError('invalid-input', 'nobody can be asked here', { hint: 'look at the list, then give --yes' })
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  const typed = await lines.question('Type switch to go on: ').finally(() => lines.close())
  return typed.trim() === 'switch'
}
