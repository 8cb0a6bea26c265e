import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { root, say, setUp } from './setup.mjs'

/** `npm start`: the server with a demo host, from an empty clone. What follows `--` goes to `keyman-server start`. */
const node = await setUp().catch(error => {
  say(`error: ${error.message}`)
  process.exit(1)
})

// A process group of its own: Ctrl-C reaches this process alone, and the server, which ends its demo host in order, hears
// of it once. (npm passes the terminal's signal on although the terminal has sent it to everybody already.)
const child = spawn(node, [join(root, 'dist', 'keyman-server.mjs'), 'start', '--demo', ...process.argv.slice(2)], {
  stdio: 'inherit',
  detached: true,
})
child.once('error', error => {
  say(`error: ${node} cannot be started: ${error.message}`)
  process.exit(1)
})
child.once('exit', (code, signal) => {
  if (signal === null) process.exit(code ?? 1)
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
})

let last = 0
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    const now = performance.now()
    if (last !== 0 && now - last < 500) return
    last = now
    child.kill(signal === 'SIGHUP' ? 'SIGTERM' : signal)
  })
}
