import { execFileSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { pathOf } from '../requires.ts'

export type SilentFolder = {
  /** What is below is as it was, and whoever waits for it is told so. */
  answer(): void
}

/**
 * Nothing below this folder ever answers, as below a mount of NFS whose server is gone: a file system of this process (FUSE) that
 * says nothing, not even that it is there. Root alone may make one.
 */
export function newSilentFolder(path: string): SilentFolder {
  const channel = openSync(pathOf('fuse'), 'r+')
  const options = 'fd=3,rootmode=40000,user_id=0,group_id=0,allow_other'
  execFileSync('mount', ['-i', '-t', 'fuse', '-o', options, 'silent', path], {
    stdio: ['ignore', 'inherit', 'inherit', channel],
  })
  let open = true
  return {
    answer() {
      if (!open) return
      open = false
      closeSync(channel)
      execFileSync('umount', ['-l', path])
    },
  }
}
