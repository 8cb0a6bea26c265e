import type { ServerConfig } from './config/index.ts'

export type Started = {
  readonly config: Pick<ServerConfig, 'publicUrl' | 'pages' | 'machines' | 'dataFolder'>
  /** Of the first owner. */
  readonly link: string | undefined
  readonly hasScreen: boolean
}

/** Pure: where the server is, and the first owner's link, for whoever started it. */
export function whereItRuns({ config, link, hasScreen }: Started): string[] {
  const lines = [
    'KeyMan is running.',
    `  pages     ${config.publicUrl}`,
    `  machines  ${config.machines.url}`,
    `  data      ${config.dataFolder}`,
  ]
  if (link !== undefined) lines.push('First owner (valid 15 minutes, once):', `  ${link}`)
  if (link !== undefined && !hasScreen && isLocal(config))
    lines.push(`No screen here? On your laptop:  ${tunnel(config)}   then open the link there`)
  return lines.map(line => `  ${line}`)
}

/**
 * Pure: what to do next. `isFound`: whether `keyman`, run by the same user, finds the server by itself, as it does by the data folder
 * that is meant where none is named. `demo`: started from a clone, with a host of its own, where there could be one.
 */
export function whatIsNext(
  config: Started['config'],
  root: string,
  { isFound, demo }: { readonly isFound: boolean; readonly demo: false | { readonly host: string | undefined } },
): string {
  const isShort = isFound && isLocal(config)
  const login = isShort ? 'login' : `login ${config.machines.url} --fingerprint ${root}`
  const host = demo === false ? undefined : demo.host
  const ssh = host === undefined ? '' : `   then   ssh ${isShort ? host.split('.', 1) : host}`
  return `  Next:  ${demo === false ? 'keyman' : 'bin/keyman'} ${login}${ssh}`
}

/** Whether browsers open it on this very machine alone, as whoever tries it out has it. */
const isLocal = ({ publicUrl }: Started['config']): boolean => new URL(publicUrl).hostname === 'localhost'

/** The ssh line with which the pages open from a laptop: at the same port, since the browser must see the same origin. */
function tunnel({ publicUrl, pages }: Started['config']): string {
  const { port, protocol } = new URL(publicUrl)
  const { host } = pages.listen
  const to = `${host.includes(':') ? `[${host}]` : host}:${pages.listen.port}`
  return `ssh -L ${port || (protocol === 'https:' ? '443' : '80')}:${to} THIS-MACHINE`
}
