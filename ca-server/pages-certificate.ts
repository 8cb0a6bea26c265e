import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { type FieldError, KeymanError } from '#shared/errors.ts'
import { told } from '#shared/told.ts'

type Files = { readonly certificateFile: string; readonly keyFile: string }
type Identity = { readonly cert: string; readonly key: string }

const CERTIFICATE = 'pages.tls_certificate'
const KEY = 'pages.tls_key'

/** The certificate of the pages with its key, for a listener. Throws `invalid-input` where no listener could use them. */
export function readPagesCertificate(files: Files): Identity {
  const { identity, problems } = read(files)
  const [first] = problems
  if (!first && identity) return identity
  throw new KeymanError('invalid-input', first?.message ?? 'the certificate of the pages can not be used', {
    fields: problems,
    ...(first?.hint === undefined ? {} : { hint: first.hint }),
  })
}

/** What browsers would say of them besides: a server starts all the same, since hosts and laptops don't need its pages. */
export function checkPagesCertificate(files: Files, publicUrl: string, now: Date): FieldError[] {
  const { certificate, problems } = read(files)
  const more: FieldError[] = []
  if (certificate) {
    const { hostname } = new URL(publicUrl)
    if (!certificate.checkHost(hostname, { subject: 'never' }))
      more.push({
        field: CERTIFICATE,
        message: `${files.certificateFile}: it is not for ${hostname}, which public_url names`,
        hint: `it names ${certificate.subjectAltName ?? 'nobody'}: have one made for ${hostname}`,
      })
    if (now > certificate.validToDate)
      more.push({
        field: CERTIFICATE,
        message: `${files.certificateFile}: it ended at ${iso(certificate.validToDate)}`,
        hint: RENEW,
      })
    if (now < certificate.validFromDate)
      more.push({
        field: CERTIFICATE,
        message: `${files.certificateFile}: it is not good before ${iso(certificate.validFromDate)}`,
        hint: "see whether this machine's clock is right",
      })
  }
  if (!problems.some(({ field }) => field === KEY) && (statSync(files.keyFile).mode & 0o007) !== 0)
    more.push({ field: KEY, message: `${files.keyFile}: everybody may read it`, hint: `chmod o= ${files.keyFile}` })
  return [...problems, ...more]
}

const RENEW = 'have it renewed, then send the server SIGHUP'
const iso = (date: Date): string => date.toISOString().slice(0, 16).replace('T', ' ')

function read({ certificateFile, keyFile }: Files): {
  readonly identity: Identity | undefined
  readonly certificate: X509Certificate | undefined
  readonly problems: FieldError[]
} {
  const problems: FieldError[] = []
  /** `undefined`, with the reason told, where it is not there or is none. */
  const open = <Parsed>(field: string, file: string, what: string, parse: (text: string) => Parsed) => {
    try {
      const text = readFileSync(file, 'utf8')
      try {
        return { text, parsed: parse(text) }
      } catch {
        problems.push({ field, message: `${file}: it holds no ${what}`, hint: `name a file with a ${what}` })
      }
    } catch (error) {
      const { message, hint } = told(error)
      problems.push({ field, message, ...(hint === undefined ? {} : { hint }) })
    }
    return undefined
  }
  const certificate = open(CERTIFICATE, certificateFile, 'certificate in PEM', text => new X509Certificate(text))
  const key = open(
    KEY,
    keyFile,
    'private key in PEM, without a passphrase',
    (text): KeyObject => createPrivateKey(text),
  )
  if (certificate && key && !certificate.parsed.checkPrivateKey(key.parsed))
    problems.push({
      field: KEY,
      message: `${keyFile}: it is not the key of the certificate in ${certificateFile}`,
      hint: 'name the two files that were made together; of a chain the certificate of the server stands first',
    })
  return {
    identity: certificate && key && { cert: certificate.text, key: key.text },
    certificate: certificate?.parsed,
    problems,
  }
}
