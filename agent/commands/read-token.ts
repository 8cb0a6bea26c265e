import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { KeymanError } from '#shared/errors.ts'

/**
 * From a file, or with `-` from standard input: all of it from a pipe, one line from a person at a terminal. Never from an
 * argument: arguments are seen by every user of a machine.
 */
export async function readToken(file: string): Promise<string> {
  if (file === '-' && process.stdin.isTTY === true) return askForToken()
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (error) {
    throw new KeymanError('not-found', `the token file ${file} cannot be read`, { cause: error })
  }
}

/** Seen while it is pasted: it is good once, and used at once. Ctrl-C ends the program with 130, Ctrl-D gives none. */
function askForToken(): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  return new Promise(resolve => {
    lines.once('SIGINT', () => process.exit(130))
    lines.once('close', () => resolve(''))
    lines.question("Join token, from 'keyman host add': ", token => {
      resolve(token)
      lines.close()
    })
  })
}
