import { spawn } from 'node:child_process'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..', '..', '..')

/** As `npm run package` makes them; gives what it said. Throws where it fails. */
export function makePackages(out: string, args: readonly string[] = []): Promise<string> {
  const script = join(root, 'scripts', 'package.mjs')
  const env = { ...process.env, SOURCE_DATE_EPOCH: '1790000000' }
  const child = spawn(process.execPath, [script, '--out', out, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
  return new Promise((resolve, reject) =>
    child.once('close', code => (code === 0 ? resolve(said) : reject(new Error(said)))),
  )
}

/** The architecture as Debian names it. */
export const DEBIAN_ARCHITECTURE = process.arch === 'x64' ? 'amd64' : process.arch
