import { existsSync } from 'node:fs'
import type { ServerConfig } from '../config/index.ts'

/** Where packages put the configuration, which their unit starts the server with. Read only where it is named: others run servers too. */
const PACKAGED = '/etc/keyman/server.toml'

type IsThere = (path: string) => boolean

/** What to do where a command looked at another server than was meant, or at none. */
export const nameConfig = (isThere: IsThere = existsSync): string =>
  `name the configuration of the server: --config ${isThere(PACKAGED) ? PACKAGED : 'FILE'}`

/** What whoever named none has to know of the answer, where a packaged one is there. */
export const noneNamed = ({ file }: Pick<ServerConfig, 'file'>, isThere: IsThere = existsSync): string | undefined =>
  file === undefined && isThere(PACKAGED)
    ? `no configuration was named, so these are defaults and not ${PACKAGED}: --config ${PACKAGED}`
    : undefined

/** A command on the same configuration. */
export const withConfig = (command: string, { file }: Pick<ServerConfig, 'file'>): string =>
  `keyman-server ${command}${file === undefined ? '' : ` --config ${file}`}`

/** How the server of this configuration is started: by its unit, where it has one. */
export const howToStart = (config: Pick<ServerConfig, 'file'>, isThere: IsThere = existsSync): string =>
  config.file === PACKAGED && isThere('/run/systemd/system')
    ? 'systemctl start keyman-server'
    : withConfig('start', config)
