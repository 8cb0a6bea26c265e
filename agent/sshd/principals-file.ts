import { invalid } from '#shared/errors.ts'
import { isAddressRange } from '#shared/ip-address.ts'
import { isUserPrincipal, printable } from '#shared/names.ts'

/**
 * Pure: a principals file, written from parts and read back by sshd's own rules (`auth2-pubkeyfile.c`,
 * `auth-options.c` of OpenSSH 9.2; `sshd(8)`, AUTHORIZED_KEYS FILE FORMAT): a line is cut at any `#`; what stands before
 * its last blank is key options, up to the first blank outside quotes; the first line with the principal decides.
 */
export type Line = {
  readonly principal: string
  readonly pty: boolean
  readonly portForwarding: boolean
  readonly agentForwarding: boolean
  readonly x11Forwarding: boolean
  readonly sourceAddress?: readonly string[] | undefined
  readonly forceCommand?: string | undefined
  /** RFC 3339. */
  readonly expiresAt?: string | undefined
}

/** `utc`: sshd 9.1 or newer reads `…Z`; an older one the standard time of its own zone, in summer too. */
export type ExpiryStyle = 'utc' | 'local'

/** Text between double quotes in key options: printable ASCII without `"`, `\` and `#` (at which sshd would cut the line). */
const QUOTABLE = /^[\x20\x21\x24-\x5b\x5d-\x7e]+$/

/** One line a principal, `restrict` first, then what is given back. Throws `invalid-input` for a part that does not fit. */
export function formatPrincipalsFile(lines: readonly Line[], style: ExpiryStyle): string {
  return lines.map(line => `${formatLine(line, style)}\n`).join('')
}

function formatLine(line: Line, style: ExpiryStyle): string {
  if (!isUserPrincipal(line.principal)) throw invalid('principal', `${printable(line.principal)} is not a principal`)
  const options = ['restrict']
  if (line.pty) options.push('pty')
  if (line.portForwarding) options.push('port-forwarding')
  if (line.agentForwarding) options.push('agent-forwarding')
  if (line.x11Forwarding) options.push('X11-forwarding')
  if (line.sourceAddress !== undefined) {
    if (line.sourceAddress.length === 0) throw invalid('sourceAddress', 'an empty list would let nobody in')
    for (const range of line.sourceAddress)
      if (!isAddressRange(range)) throw invalid('sourceAddress', `${printable(range)} is not an address or CIDR range`)
    options.push(`from="${line.sourceAddress.join(',')}"`)
  }
  if (line.forceCommand !== undefined) {
    if (!QUOTABLE.test(line.forceCommand) || line.forceCommand.length > 500)
      throw invalid('forceCommand', 'must be printable ASCII without ", \\ and #, at most 500 characters')
    options.push(`command="${line.forceCommand}"`)
  }
  if (line.expiresAt !== undefined) options.push(`expiry-time="${formatExpiry(line.expiresAt, style)}"`)
  return `${options.join(',')} ${line.principal}`
}

function formatExpiry(time: string, style: ExpiryStyle): string {
  const at = Math.floor(Date.parse(time) / 1000) * 1000
  const year = new Date(at).getUTCFullYear()
  if (!Number.isFinite(at) || year < 1971 || year > 9998) throw invalid('expiresAt', `${printable(time)} is not a time`)
  if (style === 'utc') return `${digits(at)}Z`
  // sshd's `mktime` is told that no daylight saving is in force, whatever the season.
  return digits(at + standardOffset(at))
}

/** `YYYYMMDDHHMMSS` of a time in UTC. */
const digits = (at: number): string =>
  new Date(at)
    .toISOString()
    .replace(/\.000Z$/, '')
    .replace(/[-:T]/g, '')

const MONTH_MS = 30 * 86_400_000

/**
 * How far this machine's zone is ahead of UTC, in milliseconds, without daylight saving: the least of what it is in the
 * half years around `at`. Where a zone calls its summer the standard (Dublin), or has just changed the standard, sshd may take
 * a greater one: then the line ends that much early, never late.
 */
function standardOffset(at: number): number {
  let least = Number.POSITIVE_INFINITY
  for (let month = -7; month <= 7; month++)
    least = Math.min(least, -new Date(at + month * MONTH_MS).getTimezoneOffset() * 60_000)
  return least
}

/** A line as sshd understands it. */
export type ReadLine = { readonly principal: string; readonly options: readonly string[] }

/** As sshd reads a file. Options are cut at commas outside quotes, names in lower case, with their quotes kept. */
export function readPrincipalsFile(text: string): ReadLine[] {
  const lines: ReadLine[] = []
  for (const raw of text.split('\n')) {
    const line = (raw.split('#')[0] ?? '').replace(/^[ \t]+/, '').replace(/[ \t]+$/, '')
    if (line === '') continue
    // strrchr of a blank, and of a tab only where there is no blank.
    const last = line.includes(' ') ? line.lastIndexOf(' ') : line.lastIndexOf('\t')
    const principal = line.slice(last + 1).replace(/^[ \t]+/, '')
    lines.push({ principal, options: last < 0 ? [] : splitOptions(line) })
  }
  return lines
}

function splitOptions(line: string): string[] {
  const options: string[] = []
  let option = ''
  let quoted = false
  for (let i = 0; i < line.length; i++) {
    const c = line[i]
    if (!quoted && (c === ' ' || c === '\t')) break
    if (c === '\\' && line[i + 1] === '"') {
      option += '\\"'
      i++
    } else if (c === '"') {
      quoted = !quoted
      option += c
    } else if (c === ',' && !quoted) {
      options.push(option)
      option = ''
    } else option += c
  }
  return [...options, option].map(text => text.replace(/^[^=]*/, name => name.toLowerCase()))
}

/** Whether a file's text means exactly these lines to sshd. Gives what differs, for a person; `undefined` where nothing does. */
export function differs(text: string, lines: readonly Line[], style: ExpiryStyle): string | undefined {
  const read = readPrincipalsFile(text)
  if (read.length !== lines.length) return `${read.length} lines instead of ${lines.length}`
  for (const [i, line] of lines.entries()) {
    const got = read[i]
    if (got?.principal !== line.principal)
      return `line ${i + 1} lets in ${printable(got?.principal ?? '')} instead of ${line.principal}`
    const want = expectedOptions(line, style)
    if (got.options.length !== want.length || got.options.some((option, j) => option !== want[j]))
      return `line ${i + 1} has other options than it should`
  }
  return undefined
}

function expectedOptions(line: Line, style: ExpiryStyle): string[] {
  const given: [boolean, string][] = [
    [line.pty, 'pty'],
    [line.portForwarding, 'port-forwarding'],
    [line.agentForwarding, 'agent-forwarding'],
    [line.x11Forwarding, 'x11-forwarding'],
  ]
  return [
    'restrict',
    ...given.filter(([is]) => is).map(([, name]) => name),
    ...(line.sourceAddress ? [`from="${line.sourceAddress.join(',')}"`] : []),
    ...(line.forceCommand !== undefined ? [`command="${line.forceCommand}"`] : []),
    ...(line.expiresAt !== undefined ? [`expiry-time="${formatExpiry(line.expiresAt, style)}"`] : []),
  ]
}
