import { and, asc, eq, gt, or, sql } from 'drizzle-orm'
import { builder, type Queryable, rows, run } from '#server/store/index.ts'
import type { SignedBundle } from '#shared/trust/index.ts'
import { trustBundle } from '../tables.ts'

/** The rows of trust bundles. */

export type StoredBundle = { readonly version: number; readonly signed: SignedBundle }

/** Oldest first: those that changed the root, and the newest, of all above `after`; the newest in any case. */
export async function selectBundles(on: Queryable, after: number): Promise<StoredBundle[]> {
  const { version, document, signatures, changesRoots } = trustBundle
  const isNewest = sql`${version} = (select max(${version}) from ${trustBundle})`
  const selected = builder
    .select({ version, document, signatures })
    .from(trustBundle)
    .where(or(and(eq(changesRoots, true), gt(version, after)), isNewest))
    .orderBy(asc(version))
  return (await rows(on, selected)).map(({ version, ...signed }) => ({ version, signed }))
}

/** False where another server has published this version. */
export const insertBundle = async (
  t: Queryable,
  bundle: { version: number; signed: SignedBundle; changesRoots: boolean; at: string },
): Promise<boolean> => {
  const { version, signed, changesRoots, at } = bundle
  const added = {
    version,
    document: signed.document,
    signatures: [...signed.signatures],
    changesRoots,
    publishedAt: new Date(at),
  }
  return (await run(t, builder.insert(trustBundle).values(added).onConflictDoNothing())) > 0
}
