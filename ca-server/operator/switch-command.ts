import { z } from 'zod'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import type { ServerConfig } from '../config/index.ts'
import { askRunning, canAsk, typed } from './ask-running.ts'

const answer = z.object({
  switched: z.array(z.object({ purpose: z.string(), from: z.string(), to: z.string() })),
  /** Whether the trust bundle says so already. */
  isPublished: z.boolean(),
  /** What is lost with the keystore of before, beside the keys. */
  remarks: z.array(z.string()),
})

/**
 * `keyman-server authority switch-to-standby`: the operator's answer to a keystore that is lost. The running server does it, which still knows what
 * was opened by that keystore; it makes those keys the signers that were shown here, or none.
 */
export async function switchCommand(config: ServerConfig, isConfirmed: boolean): Promise<number> {
  const planned = await askRunning(config, { ask: 'switch-to-standby' }, answer)
  process.stderr.write('These keys would sign from now on, and those before them never again:\n')
  for (const { purpose, from, to } of planned.switched)
    process.stderr.write(`  ${purpose.padEnd(9)} ${from} -> ${to}\n`)
  process.stderr.write('Hosts and laptops trust them already; what was signed stays good.\n')
  const labels = planned.switched.map(({ to }) => to)
  if (!isConfirmed && !canAsk())
    throw new KeymanError('invalid-input', 'nobody can be asked here', { hint: 'look at the list, then give --yes' })
  if (!isConfirmed && !(await typed(labels.join(' ')))) {
    process.stderr.write('Nothing was changed.\n')
    return EXIT.failed
  }
  const { isPublished, remarks } = await askRunning(config, { ask: 'switch-to-standby', confirmed: labels }, answer)
  process.stdout.write(`${labels.join(' ')}\n`)
  process.stderr.write('Switched. It was recorded in the audit log.\n')
  if (!isPublished)
    process.stderr.write('The trust bundle that says so waits for the root of trust: keyman trust sign\n')
  for (const remark of remarks) process.stderr.write(`${remark}\n`)
  return EXIT.done
}
