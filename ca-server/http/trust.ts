import type { Trust } from '#server/authority/index.ts'
import { api } from '#shared/api/index.ts'
import { parseTrustDocument, rootFingerprint } from '#shared/trust/index.ts'
import { byOf } from './caller.ts'
import { type Handled, handle } from './handle.ts'

export type TrustRoutesDeps = { readonly trust: Pick<Trust, 'bundles' | 'next' | 'publish'> }

/** The trust bundle: read by anyone, since it proves itself; signed outside of the server. */
export function trustRoutes({ trust }: TrustRoutesDeps): Handled[] {
  return [
    handle(api.trust.show, async ({ query }) => ({
      bundles: (await trust.bundles(query.after)).map(({ document, signatures }) => ({
        document,
        signatures: [...signatures],
      })),
    })),
    handle(api.trust.next, async ({ body }) => ({ document: await trust.next(body.roots) })),
    handle(
      api.trust.publish,
      async request => trust.publish(request.body, byOf(request)),
      ({ body }) => {
        const { version, roots } = parseTrustDocument(body.document)
        return `version ${version}, root ${rootFingerprint(roots)}`
      },
    ),
  ]
}
