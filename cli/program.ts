import { join } from 'node:path'

/** The launcher that started this program: what the check script calls again. It lies beside `dist/` as it lies beside the sources. */
export const keymanProgram = (): string =>
  process.env.KEYMAN_PROGRAM ?? join(import.meta.dirname, '..', 'bin', 'keyman')
