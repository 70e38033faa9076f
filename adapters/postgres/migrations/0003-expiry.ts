import { type Kysely, sql } from 'kysely';

/** For the sweeper: only unpaid orders stand in it, and an order that is placed and paid in one commit never does. */
export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`create index orders_unpaid on orders (expires_at) where status = 'pending'`.execute(db);
};
