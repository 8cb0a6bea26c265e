import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { HeldKeys, openBundles, switchWithoutServer } from '#server/authority/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import type { ServerConfig } from '../config/index.ts'
import { canAsk, typed } from './ask-running.ts'
import { askServer } from './operator.ts'
import { openLog, withoutServer } from './without-server.ts'

const answer = z.object({
  switched: z.array(z.object({ purpose: z.string(), from: z.string(), to: z.string() })),
  /** Whether the trust bundle says so already. */
  isPublished: z.boolean(),
})
type Answer = z.infer<typeof answer>

/**
 * `keyman-server authority switch-to-standby`: the operator's answer to a keystore that is lost. The running server does it; where none runs on this
 * data folder, this process does. Those keys become the signers that were shown here, or none.
 */
export async function switchCommand(config: ServerConfig, isConfirmed: boolean): Promise<number> {
  const running = await ask(config)
  const planned = running ?? (await switchAlone(config))
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
  const done = (await ask(config, labels)) ?? (await switchAlone(config, labels))
  process.stdout.write(`${labels.join(' ')}\n`)
  process.stderr.write('Switched. It was recorded in the audit log.\n')
  if (!running)
    process.stderr.write(
      'Next: keyman-server start; the trust bundle that says so is published then, or waits for keyman trust sign\n',
    )
  else if (!done.isPublished)
    process.stderr.write('The trust bundle that says so waits for the root of trust: keyman trust sign\n')
  return EXIT.done
}

/** Undefined where no server runs. */
async function ask({ dataFolder }: ServerConfig, confirmed?: readonly string[]): Promise<Answer | undefined> {
  const said = await askServer(dataFolder, { ask: 'switch-to-standby', ...(confirmed ? { confirmed } : {}) })
  return said === undefined ? undefined : answer.parse(said)
}

const tell = (message: string): void => void process.stderr.write(`keyman-server: ${message}\n`)

/** Without `confirmed` it says what would be done. */
const switchAlone = (config: ServerConfig, confirmed?: readonly string[]): Promise<Answer> =>
  withoutServer(config, async (base, pins) => {
    const { store, keystore, standbyKeystore, awayKeystore: away } = base
    if (away && !confirmed) tell(`${away.name} is away: ${away.error.message}`)
    const { dataFolder, trust } = config
    const bundles = await openBundles({ store, pins, dataFolder, rootFingerprint: trust.rootFingerprint, alarm: tell })
    const bundle = bundles.current()
    const { ledger } = await openLog(base, config, { pins, bundle, now: () => new Date(), keeping: 'as it goes on' })
    const held = await HeldKeys.ask(keystore, standbyKeystore, away)
    const by = { actor: { kind: 'operator' }, requestId: `req_${randomBytes(12).toString('base64url')}` } as const
    const switched = await switchWithoutServer({ store, ledger, held, bundle }, by, confirmed)
    if (confirmed) await ledger.stop()
    return { switched, isPublished: false }
  })
