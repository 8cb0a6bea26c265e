import { openSync } from 'node:fs'
import { shown } from '#shared/text.ts'

export { shown }

/**
 * How the program speaks: results to stdout and nothing else there; questions, progress and remarks to stderr. An error is
 * `keyman: error: …` and `keyman: hint: …`: no capital first, no full stop. Colour only on a terminal, NO_COLOR honoured.
 */
const colour = (on: boolean, code: string) => (text: string) => (on ? `\u001b[${code}m${text}\u001b[0m` : text)
const wantsColour = (stream: { isTTY?: boolean }) =>
  stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb'

export const bold = colour(wantsColour(process.stdout), '1')
const red = colour(wantsColour(process.stderr), '31;1')

/** The last net: whatever foreign text was forgotten, nothing but lines, tabs and our own colours reaches a terminal. */
const LINES_AND_OURS = /(\u001b\[(?:0|1|2|31;1)m|[\n\t])/
export const lines = (text: string): string =>
  text
    .split(LINES_AND_OURS)
    .map((part, i) => (i % 2 === 1 ? part : shown(part)))
    .join('')

export const print = (text: string): void => void process.stdout.write(`${lines(text)}\n`)
export const printJson = (value: unknown): void =>
  print(JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? String(v) : v), 2))
export const remark = (text: string): void => void process.stderr.write(`${lines(text)}\n`)

export function printError(message: string, hint: string | undefined): void {
  process.stderr.write(`keyman: ${red('error:')} ${shown(message)}\n`)
  if (hint) process.stderr.write(`keyman: hint: ${shown(hint)}\n`)
}

/**
 * Rows under headings. Cut to the terminal's width there, never in a pipe; with `wraps` the last column goes on in the next
 * lines instead, where what would be cut is what matters.
 */
export function table(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  { columns = process.stdout.isTTY ? process.stdout.columns : undefined, wraps = false }: TableOptions = {},
): string {
  const cells = [headings, ...rows].map(row => row.map(shown))
  const widths = headings.map((_, i) => Math.max(...cells.map(row => row[i]?.length ?? 0)))
  const indent = widths.slice(0, -1).reduce((sum, width) => sum + width + 2, 0)
  return cells
    .map((row, r) => {
      const line = row
        .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)))
        .join('  ')
        .trimEnd()
      const fits = columns === undefined || columns === 0 || line.length <= columns
      const cut = fits ? line : wraps ? wrapped(line, columns, indent) : `${line.slice(0, columns - 1)}…`
      return r === 0 ? bold(cut) : cut
    })
    .join('\n')
}
type TableOptions = { readonly columns?: number | undefined; readonly wraps?: boolean }

/** What follows the first line stands below its last column, or, where that leaves too little room, a little to the right. */
function wrapped(line: string, columns: number, column: number): string {
  const indent = columns - column >= 20 ? column : 4
  const pieces: string[] = []
  let rest = line
  while (rest.length > columns - (pieces.length === 0 ? 0 : indent)) {
    const room = columns - (pieces.length === 0 ? 0 : indent)
    const blank = rest.lastIndexOf(' ', room)
    const at = blank > (pieces.length === 0 ? indent : 0) ? blank : room
    pieces.push(rest.slice(0, at).trimEnd())
    rest = rest.slice(at).trimStart()
  }
  return [...pieces, rest].map((piece, n) => (n === 0 ? piece : ' '.repeat(indent) + piece)).join('\n')
}

/** Whether somebody reads what is said. */
export const isWatched = (): boolean => process.stderr.isTTY === true
/** Whether somebody can be asked. */
export const canAsk = (): boolean => process.stdin.isTTY === true && process.stderr.isTTY === true

/** Asks yes or no; only Enter means `otherwise`. Call it only where `canAsk()`. */
export async function ask(question: string, otherwise: boolean): Promise<boolean> {
  const answer = (await askText(`${question} ${otherwise ? '[Y/n]' : '[y/N]'} `)).trim().toLowerCase()
  return answer === '' ? otherwise : answer === 'y' || answer === 'yes'
}

/** A line from the person; empty where they ended the input. Ctrl-C ends the program with 130. */
export async function askText(question: string): Promise<string> {
  const { createInterface } = await import('node:readline')
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  return new Promise(resolve => {
    lines.once('SIGINT', () => process.exit(130))
    lines.once('close', () => resolve(''))
    lines.question(question, answer => {
      resolve(answer)
      lines.close()
    })
  })
}

/**
 * The person's own terminal as a file descriptor, where stdin and stdout belong to somebody else (ssh runs `Match exec` so);
 * undefined where there is none.
 */
export function openTerminal(): number | undefined {
  try {
    return openSync('/dev/tty', 'r+')
  } catch {
    return undefined
  }
}
