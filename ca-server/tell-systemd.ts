import { execFile } from 'node:child_process'
import type { Log } from './log.ts'

/**
 * Tells systemd that the server runs, where a unit of Type=notify waits for it: what `systemctl start` is followed by finds it listening.
 * By systemd's own program, since Node has no datagrams of Unix sockets (sd_notify(3)).
 */
export function tellSystemd(env: NodeJS.ProcessEnv, log: Pick<Log, 'error'>): void {
  if (!env.NOTIFY_SOCKET) return
  execFile('systemd-notify', ['--ready'], error => {
    if (error) log.error('systemd could not be told that the server runs', error)
  })
}
