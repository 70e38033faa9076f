import { sql } from 'kysely';
import { ONCE_HOURS } from '../../core/books.ts';
import { type Reads, reading } from './connection.ts';

/**
 * Deletes what nobody needs any more: idempotency keys whose time is over, records of refused claims 90 days after their
 * campaign (issued ones stay), lanes of processes long gone. Any number of processes may do it at once.
 */
export const purge = async ({ db }: Reads): Promise<void> => {
  await reading(sql`delete from idempotency_keys where created_at < now() - make_interval(hours => ${ONCE_HOURS})`.execute(db));
  await reading(
    sql`delete from claims using campaigns
        where campaigns.id = campaign_id and decision = 'refused' and campaigns.closes_at < now() - interval '90 days'`.execute(
      db,
    ),
  );
  await reading(sql`delete from lanes where seen_at < now() - interval '7 days'`.execute(db));
};

/** A secret that the service makes for itself once, whichever process comes first, and that all its processes share. */
export const sharedSecret = async ({ db }: Reads, name: string, make: () => string): Promise<string> => {
  await db
    .insertInto('secrets')
    .values({ name, value: make() })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
  return (await db.selectFrom('secrets').select('value').where('name', '=', name).executeTakeFirstOrThrow()).value;
};
