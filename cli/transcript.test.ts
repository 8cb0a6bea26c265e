import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

/**
 * Each file of `testdata/` is what a person sees on a machine that knows no server yet: a command after `$ `, what it says
 * on both streams, and its exit code in brackets where that is not 0. `KEYMAN_RECORD=1` writes the files anew.
 */
const folder = join(import.meta.dirname, 'testdata')
let home: string
let main: string
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'keyman-transcript-'))
  // Bundled, as it is shipped: a program that starts forty times starts sooner so.
  const outdir = join(home, 'dist')
  await build({
    entryPoints: [join(import.meta.dirname, 'main.ts')],
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    outdir,
    outExtension: { '.js': '.mjs' },
    logLevel: 'silent',
  })
  main = join(outdir, 'main.mjs')
})
afterAll(() => rmSync(home, { recursive: true, force: true }))

/** The words of a command line; single and double quotes hold them together. */
const words = (line: string): string[] =>
  (line.match(/"[^"]*"|'[^']*'|\S+/g) ?? []).map(word => word.replace(/^["']|["']$/g, ''))

function run(line: string): Promise<string> {
  const [, ...args] = words(line)
  const env = {
    PATH: process.env.PATH,
    HOME: home,
    XDG_CONFIG_HOME: join(home, 'config'),
    XDG_STATE_HOME: join(home, 'state'),
    XDG_RUNTIME_DIR: home,
  }
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
    child.once('error', reject)
    child.once('close', code => resolve(said.replaceAll(home, '~') + (code === 0 ? '' : `[${code}]\n`)))
  })
}

describe.each(readdirSync(folder))('%s', name => {
  const text = readFileSync(join(folder, name), 'utf8')
  const commands = [...text.matchAll(/^\$ (.*)$/gm)].map(([, line]) => line ?? '')
  it('says what it did', { timeout: 120_000 }, async () => {
    let seen = ''
    for (const line of commands) seen += `$ ${line}\n${await run(line)}`
    if (process.env.KEYMAN_RECORD === '1') writeFileSync(join(folder, name), seen)
    expect(seen).toBe(process.env.KEYMAN_RECORD === '1' ? seen : text)
  })
})
