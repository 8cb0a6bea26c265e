import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { KeymanError } from '#shared/errors.ts'
import type { AgentConfig } from '../config.ts'
import { firstLine, run } from './sshd.ts'

const DONE = 'sshd has read its configuration again'

/** Has sshd read its configuration again. Gives a sentence for the log. Throws `unavailable` where that cannot be. */
export async function reload(config: AgentConfig): Promise<string> {
  if ('command' in config.reload) {
    const unit = unitOf(config)
    if (unit !== undefined && !(await isRunning(unit))) return notRunning(config, unit)
    const [program = '', ...args] = config.reload.command
    const { code, out } = await run(program, args)
    if (code !== 0)
      throw new KeymanError('unavailable', `${config.reload.command.join(' ')} fails: ${firstLine(out)}`, {
        hint: `say how sshd reads its configuration again: --reload at join, 'reload' in agent.json`,
      })
    return DONE
  }
  const pid = sshdPid(config.reload.pidFile)
  if (pid === undefined) return 'sshd does not run; it will read its configuration when it starts'
  process.kill(pid, 'SIGHUP')
  return DONE
}

/** Before a join token is used: whether `reload` will do. A command is tried: it changes nothing yet. */
export async function tryReload(config: AgentConfig): Promise<void> {
  const unit = unitOf(config)
  if (unit !== undefined) {
    const { out } = await run('systemctl', ['show', '--property=LoadState', '--value', unit])
    if (firstLine(out) !== 'loaded')
      throw new KeymanError('not-found', `systemd knows no unit ${unit}, by which sshd is to read its configuration`, {
        hint: 'say how it is told to: --reload COMMAND, or --pid-file FILE',
      })
  }
  if ('command' in config.reload) await reload(config)
}

/** Of `systemctl reload UNIT`: such a one is asked first, since an inactive unit cannot be reloaded. */
const unitOf = ({ reload }: AgentConfig): string | undefined => {
  const [program, verb, unit, ...more] = 'command' in reload ? reload.command : []
  return program === 'systemctl' && verb === 'reload' && more.length === 0 ? unit : undefined
}

async function isRunning(unit: string): Promise<boolean> {
  const { out } = await run('systemctl', ['is-active', unit])
  return !['inactive', 'failed'].includes(firstLine(out))
}

/** An sshd that its socket starts reads its configuration then; one that runs outside of the unit goes on with what it has read. */
function notRunning(config: AgentConfig, unit: string): string {
  const pid = listenerOf(config)
  if (pid !== undefined)
    throw new KeymanError(
      'unavailable',
      `the unit ${unit} is not active, but an sshd with ${config.sshdConfig} runs as process ${pid}: nobody tells it of changes`,
      {
        hint: "start it by its unit, or say how it is told to: --reload or --pid-file at join, 'reload' in agent.json",
      },
    )
  return `the unit ${unit} is not active; sshd will read its configuration when it starts`
}

/** A process that waits for connections and has read this configuration. */
function listenerOf(config: AgentConfig): number | undefined {
  if (!existsSync('/proc/self/comm')) return undefined
  for (const pid of readdirSync('/proc').filter(name => /^[0-9]+$/.test(name))) {
    try {
      if (readFileSync(`/proc/${pid}/comm`, 'utf8').trim() !== 'sshd') continue
      // It writes over its arguments: `sshd: /usr/sbin/sshd -D -f FILE [listener] 0 of 10-100 startups`.
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      const file = / -f ?(\S+)/.exec(line)?.[1] ?? '/etc/ssh/sshd_config'
      if (line.includes('[listener]') && file === config.sshdConfig) return Number(pid)
    } catch {
      // It has ended meanwhile.
    }
  }
  return undefined
}

/** The process named by sshd's pid file, if it is an sshd: a number in an old file may be anybody's by now. */
function sshdPid(pidFile: string): number | undefined {
  let pid: number
  try {
    pid = Number(/^([1-9][0-9]{0,9})\s*$/.exec(readFileSync(pidFile, 'utf8'))?.[1])
  } catch {
    return undefined
  }
  if (!Number.isInteger(pid)) return undefined
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'sshd' ? pid : undefined
  } catch {
    // No /proc (macOS): sshd removes its file when it ends, so what is there is believed if it can be signalled.
  }
  try {
    readlinkSync('/proc/self')
    return undefined
  } catch {
    return canSignal(pid) ? pid : undefined
  }
}

function canSignal(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
