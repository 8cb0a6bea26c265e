import { matchesGlob } from 'node:path'

/** Pure: lines of a person's ssh_config, read as ssh reads them (readconf.c, argv_split). */

type Word = { readonly text: string; readonly from: number; readonly to: number }

/** A keyword's words, without quotes, each with where it stands in the line. No word of any other keyword. */
export function wordsAfter(keyword: string, line: string): readonly Word[] {
  // Keyword and words stand apart by blanks or one `=`; the keyword's case does not matter.
  const start = /^[ \t]*([A-Za-z]+)(?:[ \t]*=[ \t]*|[ \t]+)/.exec(line)
  return start?.[1]?.toLowerCase() === keyword ? words(line, start[0].length) : []
}

function words(line: string, start: number): Word[] {
  const found: Word[] = []
  const end = line.trimEnd().length
  for (let at = start; at < end; ) {
    if (/[ \t]/.test(line[at] ?? '')) {
      at++
      continue
    }
    if (line[at] === '#') break
    const from = at
    let text = ''
    let quote = ''
    for (; at < end && (quote !== '' || !/[ \t]/.test(line[at] ?? '')); at++) {
      const letter = line[at] ?? ''
      const escaped = letter === '\\' && /["'\\]/.test(line[at + 1] ?? '')
      const escapedBlank = letter === '\\' && quote === '' && line[at + 1] === ' '
      if (escaped || escapedBlank) text += line[++at]
      else if (letter === quote) quote = ''
      else if (quote === '' && (letter === '"' || letter === "'")) quote = letter
      else text += letter
    }
    found.push({ text, from, to: at })
  }
  return found
}

/** What an `Include` is to name, and what ssh knows when it reads the line: the home, and the variables where its version expands them. */
export type Included = {
  readonly path: string
  readonly home: string
  variable?(name: string): string | undefined
}

/** Whether an `Include` of this line names the file, however it is spelled. */
export const includes = (line: string, file: Included): boolean =>
  wordsAfter('include', line).some(word => names(word.text, file))

/** The line without the file: undefined where nothing else stood there. Other files that it includes stay, as they were spelled. */
export function withoutIncluded(line: string, file: Included): string | undefined {
  const all = wordsAfter('include', line)
  const ours = all.filter(word => names(word.text, file))
  if (ours.length === all.length) return undefined
  return ours.reduceRight(
    (rest, { from, to }) => rest.slice(0, from).trimEnd() + rest.slice(to).replace(/^[ \t]+/, ' '),
    line,
  )
}

function names(word: string, { path, home, variable }: Included): boolean {
  const expanded = word.replace(/\$\{([^}]*)\}/g, (whole, name: string) => variable?.(name) ?? whole)
  const pattern = expanded.startsWith('~/')
    ? home + expanded.slice(1)
    : expanded.startsWith('/')
      ? expanded
      : `${home}/.ssh/${expanded}`
  return pattern.replace(/\/+/g, '/') === path || matchesGlob(path, pattern)
}
