/** Control, format (bidirectional and invisible ones among them) and line-separating characters, by Unicode's own categories. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/** As JSON escapes it, so that a JSON document stays one. */
const escaped = (character: string): string =>
  character
    .split('')
    .map(unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('')

/** Foreign text as one line that may go to a terminal or a log: nothing in it that a terminal obeys, or that is not seen. */
export const shown = (text: string): string => text.replace(UNSAFE, escaped)

/** The same, cut to so many characters, the last of them a whole one. */
export const shownAtMost = (text: string, most: number): string => shown(text).slice(0, most).toWellFormed()
