import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { root, say, setUp } from './setup.mjs'

/** `npm run bench`: what is fast, as ratios against something real in the same run. Arguments go to `bench/main.ts`. */
const node = await setUp({ forTests: true }).catch(error => {
  say(`error: ${error.message}`)
  process.exit(1)
})
const child = spawn(node, [join(root, 'bench', 'main.ts'), ...process.argv.slice(2)], { stdio: 'inherit', cwd: root })
child.once('exit', code => process.exit(code ?? 1))
