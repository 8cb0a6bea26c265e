import { join } from 'node:path'

const root = join(import.meta.dirname, '..', '..', '..')

/**
 * `npm test` has bundled the programs from these sources before the first test; they start in a third of the time that the
 * sources take. Whoever runs vitest by itself gets the sources, as nobody has looked whether `dist/` is of today.
 */
const isBundled = process.env.KEYMAN_TEST_FOLDER !== undefined
const program = (bundle: string, source: string): string =>
  isBundled ? join(root, 'dist', bundle) : join(root, source, 'main.ts')

/** As in vitest.config.ts. Nothing that is measured runs with it. */
export const NODE_FLAGS = isBundled ? ['--liftoff-only'] : []

/** What Node is to run. */
export const SERVER = program('keyman-server.mjs', 'ca-server')
export const KEYMAN = program('keyman.mjs', 'cli')
export const AGENT = program('keyman-agent.mjs', 'agent')
