import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import type { SignedBundle } from '#shared/trust/index.ts'

/** The rows of trust bundles: `migrations/0005_authority.sql`. */
const bundleRow = z
  .object({ version: z.int(), document: z.string(), signatures: z.array(z.string()) })
  .transform(({ version, document, signatures }) => ({ version, signed: { document, signatures } }))
export type StoredBundle = z.infer<typeof bundleRow>

/** Oldest first: those that changed the root, and the newest, of all above `after`; the newest in any case. */
export const selectBundles = (on: Queryable, after: number): Promise<StoredBundle[]> =>
  on.query(
    `select version, document, signatures from trust_bundle
     where (changes_roots and version > $1::int) or version = (select max(version) from trust_bundle)
     order by version`,
    [after],
    bundleRow,
  )

/** False where another server has published this version. */
export const insertBundle = async (
  t: Queryable,
  bundle: { version: number; signed: SignedBundle; changesRoots: boolean; at: string },
): Promise<boolean> =>
  (await t.execute(
    `insert into trust_bundle (version, document, signatures, changes_roots, published_at)
     values ($1::int, $2, $3::jsonb, $4::boolean, $5::timestamptz) on conflict do nothing`,
    [bundle.version, bundle.signed.document, JSON.stringify(bundle.signed.signatures), bundle.changesRoots, bundle.at],
  )) > 0
