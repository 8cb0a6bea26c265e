import { lstatSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { readIfThere } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import type { FirstContact } from './trust-store.ts'

export type Demo = {
  readonly name: string
  readonly address: string
  readonly port: number
  readonly login: string
}

/**
 * A server on this very machine says in its own data folder who it is; believed only where that file is ours or root's
 * and nobody else can write it.
 */
export function localServer(folders: Folders): FirstContact | undefined {
  const { machinesUrl, rootFingerprint } = readTrusted(join(folders.serverState, 'local.json')) ?? {}
  return typeof machinesUrl === 'string' && typeof rootFingerprint === 'string'
    ? { machinesUrl, rootFingerprint }
    : undefined
}

/** Whether a context is that of the server on this machine: by its root alone, since any organisation may claim this machine's address. */
export function isLocal(local: FirstContact | undefined, context: FirstContact): boolean {
  return local?.rootFingerprint === context.rootFingerprint
}

/** What the server on this machine would have its operator know, a sentence each, where the context is that server's. */
export function localRemarks(folders: Folders, context: FirstContact): string[] {
  if (!isLocal(localServer(folders), context)) return []
  const { remarks } = readTrusted(join(folders.serverState, 'local.json')) ?? {}
  return Array.isArray(remarks) ? remarks.filter(remark => typeof remark === 'string') : []
}

/** The demo host of the server on this machine, where the context is that server's. */
export function localDemo(folders: Folders, context: FirstContact): Demo | undefined {
  if (!isLocal(localServer(folders), context)) return undefined
  const { name, address, port, login } = readTrusted(join(folders.serverState, 'demo', 'demo.json')) ?? {}
  return typeof name === 'string' &&
    typeof address === 'string' &&
    typeof port === 'number' &&
    Number.isInteger(port) &&
    typeof login === 'string'
    ? { name, address, port, login }
    : undefined
}

function readTrusted(path: string): Record<string, unknown> | undefined {
  try {
    if (![path, dirname(path)].every(onlyOurs)) return undefined
    const value: unknown = JSON.parse(readIfThere(path) ?? 'null')
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}

function onlyOurs(path: string): boolean {
  const { uid, mode } = lstatSync(path)
  return (uid === 0 || uid === process.getuid?.()) && (mode & 0o022) === 0
}
