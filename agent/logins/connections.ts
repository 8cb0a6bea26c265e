import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { ipAddressText, isMappedV4 } from '#shared/ip-address.ts'
import type { ProcessOf } from './record.ts'
import { type Peer, peerKey } from './sshd-message.ts'

/** Linux: which connections there are, and whose they are (proc(5)). Of the network namespace that this agent is in. */

const TABLES = ['/proc/net/tcp', '/proc/net/tcp6']

/** Peers of the connections that are open, with the inodes of their sockets. `undefined` where the system does not say. */
export function openConnections(): ReadonlyMap<string, string> | undefined {
  const texts = TABLES.flatMap(path => {
    try {
      return readFileSync(path, 'latin1')
    } catch {
      return []
    }
  })
  return texts.length === 0 ? undefined : new Map(texts.flatMap(readTable))
}

/** Pure: established ones, and those that the other side has closed and ours has not yet. */
export function readTable(text: string): [peer: string, inode: string][] {
  return text.split('\n').flatMap(line => {
    const [, , remote = '', state, , , , , , inode = ''] = line.trim().split(/\s+/)
    const peer = state === '01' || state === '08' ? readRemote(remote) : undefined
    return peer ? [[peerKey(peer), inode] as [string, string]] : []
  })
}

/** Words of 32 bits, each in the order of the machine; a little-endian one everywhere that this runs. */
function readRemote(remote: string): Peer | undefined {
  const [, words = '', port = ''] = /^((?:[0-9A-F]{8}){1}|(?:[0-9A-F]{8}){4}):([0-9A-F]{4})$/.exec(remote) ?? []
  if (words === '') return undefined
  const bytes = Uint8Array.fromHex(words)
  for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse()
  return {
    address: ipAddressText(isMappedV4(bytes) ? bytes.subarray(12) : bytes),
    port: Number.parseInt(port, 16),
  }
}

/** `started`: in ticks since the machine started; tells a process from a later one of the same number. */
export type Process = {
  readonly pid: number
  readonly parent: number
  readonly started: string
  readonly name: string
  /** It has ended, and nobody has taken note of it. */
  readonly isZombie: boolean
}

/** Pure: the fields of `/proc/PID/stat`; a name may hold blanks and brackets. */
export function readStat(text: string): Process | undefined {
  const [, pid, name, rest] = /^([0-9]+) \((.*)\) (.*)$/s.exec(text.trimEnd()) ?? []
  const fields = rest?.split(' ') ?? []
  const [state, parent] = fields
  const started = fields[19]
  if (!pid || name === undefined || parent === undefined || started === undefined) return undefined
  return { pid: Number(pid), parent: Number(parent), started, name, isZombie: state === 'Z' || state === 'X' }
}

function processes(): Process[] {
  return readdirSync('/proc').flatMap(entry => {
    if (!/^[0-9]+$/.test(entry)) return []
    return statOf(Number(entry)) ?? []
  })
}

function statOf(pid: number): Process | undefined {
  try {
    return readStat(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return undefined // It is gone.
  }
}

/** What sshd's processes of one connection are called; the last two since OpenSSH 9.8. */
const SSHD_NAMES = new Set(['sshd', 'sshd-session', 'sshd-auth'])

/**
 * sshd's processes that are known or hold one of these sockets, and everything below them that is still there. A process that has left its parent
 * (nohup, tmux, a service) is no part of a connection any more.
 */
export function processesOf(known: readonly ProcessOf[], inodes: ReadonlySet<string>): Process[] {
  const all = processes()
  const found = new Map<number, Process>()
  const isKnown = ({ pid, started }: Process) => known.some(each => each.pid === pid && each.started === started)
  for (const process of all)
    if (SSHD_NAMES.has(process.name) && (isKnown(process) || holdsOne(process.pid, inodes)))
      found.set(process.pid, process)
  for (let before = -1; before < found.size; ) {
    before = found.size
    for (const process of all) if (found.has(process.parent)) found.set(process.pid, process)
  }
  return [...found.values()]
}

/** Of processes of others only root sees it, and where the system lets it (CAP_SYS_PTRACE). */
function holdsOne(pid: number, inodes: ReadonlySet<string>): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some(fd => {
      try {
        return inodes.has(/^socket:\[([0-9]+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? '')
      } catch {
        return false
      }
    })
  } catch {
    return false
  }
}

/** Not another one that has its number by now. */
export function isThere({ pid, started }: ProcessOf): boolean {
  const now = statOf(pid)
  return now?.started === started && !now.isZombie
}

/** Of sshd's alone. */
export function sshdProcess(pid: number): ProcessOf | undefined {
  const found = statOf(pid)
  return found && SSHD_NAMES.has(found.name) ? { pid, started: found.started } : undefined
}

export function signal(of: Process, name: 'SIGHUP' | 'SIGTERM' | 'SIGKILL'): void {
  if (!isThere(of)) return
  try {
    process.kill(of.pid, name)
  } catch {
    // It has just gone, or is not ours: the connection is looked at afterwards.
  }
}
