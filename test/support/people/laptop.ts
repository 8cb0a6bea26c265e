import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { KEYMAN } from '../programs/programs.ts'
import { startSshAgent } from '../programs/ssh-agent.ts'

export type Result = { readonly code: number; readonly stdout: string; readonly stderr: string }

/** A person's machine: the real CLI, the real ssh, a real ssh-agent, a home of its own. */
export type Laptop = {
  readonly env: NodeJS.ProcessEnv
  readonly home: string
  /**
   * Runs `keyman`; `onPage` is called with the page that it would open in a browser. Without it, pages go to whoever sits there,
   * if anybody does.
   */
  keyman(args: readonly string[], onPage?: (url: string) => Promise<void>): Promise<Result>
  /** Whoever sits there: does what a person does with a page that opens. */
  sitting: ((url: string) => Promise<void>) | undefined
  /** Plain ssh with the laptop's own configuration. */
  ssh(args: readonly string[]): Promise<Result>
  run(program: string, args: readonly string[], input?: string): Promise<Result>
  /** Runs `keyman`, and waits for what it says meanwhile. */
  start(args: readonly string[]): { says(what: RegExp): Promise<RegExpExecArray>; ended: Promise<Result> }
  /** A file below the home. */
  read(path: string): string
  close(): Promise<void>
}

/** `home`: where the server's `testHome` lies, if the laptop is the server's own machine, else a folder of its own. */
export async function openLaptop(
  home: string,
  base: NodeJS.ProcessEnv,
  options: { agent?: boolean } = {},
): Promise<Laptop> {
  const bin = join(home, 'bin')
  mkdirSync(bin, { recursive: true })
  mkdirSync(join(home, '.ssh'), { recursive: true, mode: 0o700 })
  const pages = join(home, 'pages')
  mkdirSync(pages, { recursive: true })
  // The browser: leaves the address in a file, whole, for the test's Chromium to open.
  const browser = join(bin, 'browser')
  writeFileSync(browser, `#!/bin/sh\nprintf '%s' "$1" > '${pages}/tmp'\nmv '${pages}/tmp' '${pages}/page'\n`, {
    mode: 0o755,
  })
  const launcher = join(bin, 'keyman')
  writeFileSync(launcher, `#!/bin/sh\nexec '${process.execPath}' '${KEYMAN}' "$@"\n`, {
    mode: 0o755,
  })
  const agent = options.agent === false ? undefined : await startSshAgent(join(home, 'agent.sock'))
  const env: NodeJS.ProcessEnv = {
    ...base,
    HOME: home,
    KEYMAN_BROWSER: browser,
    KEYMAN_PROGRAM: launcher,
    ...(agent ? { SSH_AUTH_SOCK: join(home, 'agent.sock') } : {}),
  }
  const run = (program: string, args: readonly string[], input?: string) =>
    new Promise<Result>(resolve => {
      const child = execFile(
        program,
        [...args],
        { env, encoding: 'utf8', maxBuffer: 1 << 26 },
        (error, stdout, stderr) => {
          const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 255
          resolve({ code, stdout, stderr })
        },
      )
      // It may be gone before it has read what it needs not.
      child.stdin?.on('error', () => undefined)
      child.stdin?.end(input ?? '')
    })
  const laptop: Laptop = {
    env,
    home,
    run,
    sitting: undefined,
    async keyman(args, onPage) {
      rmSync(join(pages, 'page'), { force: true })
      const done = run(launcher, args)
      const closing = new AbortController()
      const ended = done.finally(() => closing.abort())
      if (onPage) {
        const url = await Promise.race([
          appears(pages, 'page', closing.signal),
          ended.then(result => Promise.reject(new Error(`no page was opened: ${result.stderr}`))),
        ])
        await onPage(url)
      } else if (laptop.sitting) {
        // A browser may open the page of the command before only now: that is not what this one waits for.
        for (let asked = false; !asked; ) {
          const url = await Promise.race([appears(pages, 'page', closing.signal), ended.then(() => undefined)])
          if (url?.includes('/confirm/')) await laptop.sitting(url)
          asked = url === undefined || url.includes('/confirm/')
        }
      }
      return ended
    },
    ssh: args =>
      run('ssh', [
        '-F',
        join(home, '.ssh', 'config'),
        '-o',
        'BatchMode=yes',
        '-o',
        'StrictHostKeyChecking=yes',
        '-o',
        'GlobalKnownHostsFile=/dev/null',
        ...args,
      ]),
    start(args) {
      const child = spawn(launcher, [...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
      const said = { stdout: '', stderr: '' }
      const hearers = new Set<() => void>()
      for (const stream of ['stdout', 'stderr'] as const)
        child[stream].setEncoding('utf8').on('data', (chunk: string) => {
          said[stream] += chunk
          for (const hear of hearers) hear()
        })
      const ended = new Promise<Result>(resolve => child.once('close', code => resolve({ code: code ?? 255, ...said })))
      const says = (what: RegExp) =>
        new Promise<RegExpExecArray>((resolve, reject) => {
          const hear = () => {
            const match = what.exec(said.stderr)
            if (match) resolve(match)
          }
          hearers.add(hear)
          hear()
          void ended.then(() => reject(new Error(`it never said ${what}: ${said.stderr}`)))
        })
      return { says, ended }
    },
    read: path => readFileSync(join(home, path), 'utf8'),
    async close() {
      agent?.kill()
    },
  }
  return laptop
}

/** The content of a file as soon as it is there. */
function appears(folder: string, name: string, signal: AbortSignal): Promise<string> {
  return new Promise(resolve => {
    const look = () => {
      if (!existsSync(join(folder, name))) return
      watcher.close()
      const text = readFileSync(join(folder, name), 'utf8')
      rmSync(join(folder, name), { force: true })
      resolve(text)
    }
    const watcher = watch(folder, { signal }, look)
    look()
  })
}
