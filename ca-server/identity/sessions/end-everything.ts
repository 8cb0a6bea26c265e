import type { Queryable } from '#server/store/index.ts'

/** Whatever somebody could come in by without touching a passkey: sessions, links, logins and actions under way. */
export async function endEverything(t: Queryable, at: Date): Promise<void> {
  const now = at.toISOString()
  await t.execute('update person_session set ended_at = $1::timestamptz where ended_at is null', [now])
  await t.execute(
    'update enrolment_link set ends_at = $1::timestamptz where used_at is null and ends_at > $1::timestamptz',
    [now],
  )
  await t.execute(`update login_transaction set state = 'refused' where state in ('waiting', 'confirmed')`, [])
}
