import { closeSync, type FSWatcher, openSync, readSync, type Stats, statSync, watch } from 'node:fs'
import { dirname } from 'node:path'
import { concat } from '#shared/bytes.ts'
import { told } from '#shared/told.ts'
import type { LogLine, LogSource } from './log-source.ts'

/** The system's watch may be used up, or see nothing on a foreign file system. */
const LOOK_MS = 1000
const CHUNK = 64 * 1024
/** Longer lines are none of those that are read. */
const LONGEST_LINE = 4096

/**
 * A file that sshd itself writes (`sshd -E`): nobody else can write into it. Its cursor is `FILE:OFFSET`; a file that was put in its place is read from
 * its beginning. Lines have no time: that of reading stands for it.
 */
export function logFile(path: string, warn: (message: string) => void): LogSource {
  return {
    follow(after, take, signal) {
      let at = after === undefined ? endOf(path) : placeOf(after)
      let rest: Uint8Array = new Uint8Array()
      const look = () => {
        const is = statSync(path, { throwIfNoEntry: false })
        if (!is) return
        if (fileOf(is) !== at.file || is.size < at.offset) {
          at = { file: fileOf(is), offset: 0 }
          rest = new Uint8Array()
        }
        if (is.size > at.offset + rest.length) read()
      }
      const read = () => {
        const file = openSync(path, 'r')
        try {
          const buffer = new Uint8Array(CHUNK)
          for (;;) {
            const length = readSync(file, buffer, 0, CHUNK, at.offset + rest.length)
            if (length === 0) return
            rest = concat(rest, buffer.subarray(0, length))
            for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
              at = { ...at, offset: at.offset + end + 1 }
              take(lineOf(rest.subarray(0, end), at))
              rest = rest.subarray(end + 1)
            }
            if (rest.length > LONGEST_LINE) {
              at = { ...at, offset: at.offset + rest.length }
              rest = new Uint8Array()
            }
          }
        } finally {
          closeSync(file)
        }
      }
      let said: string | undefined
      /** What can't be read now may be later: it is said once. */
      const tryLook = () => {
        try {
          look()
          said = undefined
        } catch (error) {
          const { message } = told(error)
          if (message !== said) warn(`${path} can not be read, so nobody hears who logs in: ${message}`)
          said = message
        }
      }
      tryLook()
      const timer = setInterval(tryLook, LOOK_MS)
      timer.unref()
      const watcher = watched(path, tryLook)
      signal.addEventListener(
        'abort',
        () => {
          clearInterval(timer)
          watcher?.close()
        },
        { once: true },
      )
    },
  }
}

/** Without it the look by the clock sees it. */
function watched(path: string, look: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(dirname(path), { persistent: false }, look)
    watcher.on('error', () => watcher.close())
    return watcher
  } catch {
    return undefined
  }
}

type Place = { readonly file: string; readonly offset: number }

/** A number that is free again is soon given to another file. */
const fileOf = ({ ino, birthtimeMs }: Stats): string => `${ino}-${Math.round(birthtimeMs)}`

const lineOf = (bytes: Uint8Array, { file, offset }: Place): LogLine => ({
  message: new TextDecoder().decode(bytes),
  at: undefined,
  cursor: `${file}:${offset}`,
})

function endOf(path: string): Place {
  const is = statSync(path, { throwIfNoEntry: false })
  return is ? { file: fileOf(is), offset: is.size } : { file: 'none', offset: 0 }
}

function placeOf(cursor: string): Place {
  const [file = '', offset = ''] = cursor.split(':')
  return { file, offset: Number(offset) || 0 }
}
