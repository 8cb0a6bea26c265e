import { KeymanError } from '#shared/errors.ts'
import type { Context } from '../context/context.ts'

/**
 * The address of a page that a server names, as it may be shown and handed to a browser: one of the pages that the root of
 * trust has signed for. A server's word is data (invariant 14): a browser opens files, starts programs by their own schemes
 * and reads an address that begins with `-` as a flag. Throws `denied` for any other.
 */
export function pageOf(
  { publicUrl, organisation }: Pick<Context, 'publicUrl' | 'organisation'>,
  address: string,
): string {
  const url = URL.canParse(address) ? new URL(address) : undefined
  if (url && url.origin === publicUrl && url.username === '' && url.password === '') return url.href
  throw new KeymanError('denied', `the server named a page that is none of ${organisation}'s at ${publicUrl}`, {
    hint: 'run keyman login; if it stays so, tell your administrator',
  })
}
