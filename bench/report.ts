import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { dirname, join } from 'node:path'

/** One figure, held against something real in the same run: `ratio` is `value / against`. */
export type Row = {
  readonly name: string
  readonly value: number
  readonly unit: string
  readonly against: number
  readonly ratio: number
  /** What the two numbers are, for the table. */
  readonly what: string
}

export function row(name: string, unit: string, value: number, against: number, what: string): Row {
  return { name, value: round(value), unit, against: round(against), ratio: round(value / against), what }
}

/** Three significant digits, more before the point. */
function round(value: number): number {
  return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3))
}

export type Table = { readonly title: string; readonly head: readonly string[]; readonly lines: readonly string[][] }

/** Markdown, which a terminal shows well enough. */
export function formatTable({ title, head, lines }: Table): string {
  const widths = head.map((cell, n) => Math.max(cell.length, ...lines.map(line => line[n]?.length ?? 0)))
  const format = (cells: readonly string[]) =>
    `| ${cells.map((cell, n) => (n === 0 ? cell.padEnd(widths[n] ?? 0) : cell.padStart(widths[n] ?? 0))).join(' | ')} |`
  const rule = `|${widths.map((width, n) => (n === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return [`**${title}**`, '', format(head), rule, ...lines.map(format), ''].join('\n')
}

export const number = (value: number, digits = 0): string =>
  value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })

export const rowsTable = (rows: readonly Row[]): Table => ({
  title: 'Against something real in the same run',
  head: ['figure', 'value', 'against', 'ratio', 'unit', 'what'],
  lines: rows.map(({ name, value, against, ratio, unit, what }) => [
    `\`${name}\``,
    String(value),
    String(against),
    ratio.toFixed(2),
    unit,
    what,
  ]),
})

export function machine(): string {
  const [first] = cpus()
  return `${cpus().length} cores (${first?.model.trim() ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}`
}

const root = join(import.meta.dirname, '..')

export function writeResults(results: { readonly rows: readonly Row[] } & Record<string, unknown>): string {
  const file = join(root, 'bench', 'results', 'latest.json')
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(results, undefined, 2)}\n`)
  return file
}

/** Puts the tables between the two marks of `docs/performance.md`. */
export function writeDocs(text: string): void {
  const file = join(root, 'docs', 'performance.md')
  const marks = /(<!-- made by npm run bench -- --docs -->\n)[\s\S]*(<!-- end -->)/
  writeFileSync(
    file,
    readFileSync(file, 'utf8').replace(marks, (_, from: string, to: string) => `${from}\n${text}\n${to}`),
  )
}
