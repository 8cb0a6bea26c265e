import { strings } from './strings.ts'

export type WhyNot = { readonly code: string; readonly detail: string; readonly hint: string }

/**
 * Pure: what a browser's refusal of a passkey means, by the name of its exception and, where one name stands for several things,
 * by what Chromium and Firefox are known to write beside it. What is not known says so, with the name.
 * Names: WebAuthn Level 3, sections 5.1.3, 5.1.4, 6.3.2 and 6.3.3.
 */
export function whyNot({ name, message }: { readonly name: string; readonly message: string }): WhyNot {
  const say = (code: string, [detail, hint]: readonly [string, string]): WhyNot => ({ code, detail, hint })
  const { because } = strings
  switch (name) {
    case 'InvalidStateError':
      return say('known', because.known)
    case 'NotAllowedError':
      if (/screen lock|user ?verification/i.test(message)) return say('no-verification', because.noVerification)
      if (/focus/i.test(message)) return say('no-focus', because.noFocus)
      return say('not-said', because.notSaid)
    case 'ConstraintError':
      return say('no-verification', because.noVerification)
    case 'NotSupportedError':
      return say('cannot-keep', because.cannotKeep)
    case 'QuotaExceededError':
      return say('no-room', because.noRoom)
    case 'SecurityError':
      return say('wrong-address', because.wrongAddress)
    case 'AbortError':
    case 'OperationError':
      return say('another', because.another)
    case 'NotReadableError':
    case 'UnknownError':
      return say('device', because.device)
    default:
      return say('unknown', [because.unknown(name), because.unknownHint])
  }
}
