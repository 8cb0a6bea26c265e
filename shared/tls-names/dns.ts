import { printable } from '../names.ts'
import { isALabel } from './a-label.ts'
import { lowerCase, type Reading } from './reading.ts'

/**
 * Pure: DNS names as certificates have them (RFC 5280 section 4.2.1.6, RFC 9525 section 6.3, CA/Browser Forum's Baseline
 * Requirements section 7.1.4.2.1), and patterns of them.
 */

/** A name, or a wildcard: `*` as the whole left-most label. */
export const readDnsName = (text: string): Reading => read(text, /^\*\./)
/** A name, `*.NAME` for one label below it, or `**.NAME` for one and more. */
export const readDnsPattern = (text: string): Reading => read(text, /^\*{1,2}\./)

function read(text: string, below: RegExp): Reading {
  const [stars = ''] = below.exec(text) ?? []
  const name = lowerCase(text.slice(stars.length))
  const wrong = problemOf(name, stars !== '')
  return wrong === undefined ? { text: stars + name } : { wrong }
}

/** A certificate's whole name has 253 characters at most, with the two of `*.` before it. */
const MOST = 253

function problemOf(name: string, isParent: boolean): string | undefined {
  if (name === '') return 'is empty'
  if (name.length > (isParent ? MOST - 2 : MOST)) return `is longer than ${MOST} characters`
  if (/[^\x20-\x7e]/.test(name)) return 'is not ASCII: other letters are written as A-labels, xn--…'
  if (name.endsWith('.')) return 'ends with a dot'
  const labels = name.split('.')
  for (const label of labels) {
    const wrong = problemOfLabel(label)
    if (wrong !== undefined) return wrong
  }
  // What ends so is read as an address by others: 10.0.0.1, 127.1, 0x7f.1.
  if (/^([0-9]+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? '')) return 'ends with a number, as an IP address does'
  if (isParent && labels.length < 2) return 'has a * below a single label, which would be the names of everybody'
  return undefined
}

function problemOfLabel(label: string): string | undefined {
  if (label === '') return 'has an empty label'
  if (label.length > 63) return 'has a label that is longer than 63 characters'
  if (label.includes('*')) return 'has a * that is not the whole left-most label'
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(label))
    return `has the label ${printable(label)}, which is not letters, digits and - inside`
  if (label.startsWith('xn--')) return isALabel(label) ? undefined : `has the label ${printable(label)}, no A-label`
  // RFC 5890 section 2.3.1.
  return label.slice(2, 4) === '--' ? `has the label ${printable(label)}, which is reserved` : undefined
}

/** Both as they were read. A wildcard is covered where each name that it stands for is. */
export function coversDns(pattern: string, name: string): boolean {
  if (pattern.startsWith('**.')) return name.endsWith(pattern.slice(2))
  if (pattern.startsWith('*.')) return name.slice(name.indexOf('.')) === pattern.slice(1) && name.includes('.')
  return name === pattern
}
