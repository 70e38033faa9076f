import { sql } from 'kysely';
import type { Coupons } from '../../core/ports.ts';
import { keyOfCursor, pageOf } from '../../core/shared/page.ts';
import { isUuid } from '../../core/shared/uuid.ts';
import { type Reads, reading } from './connection.ts';
import { campaignOf, claimOf, couponOf } from './tables.ts';

export interface PostgresCoupons extends Coupons {
  /** What a gate has to know of a campaign: how many there are, and who has one. */
  readonly holders: (campaignId: string) => Promise<{ readonly quantity: number; readonly customers: readonly string[] } | null>;
  /** How many are handed out; null when there is no such campaign. */
  readonly issuedCount: (campaignId: string) => Promise<number | null>;
  /** Those of the customers who have a coupon of the campaign. */
  readonly holdersAmong: (campaignId: string, customerIds: readonly string[]) => Promise<readonly string[]>;
}

export const postgresCoupons = ({ db }: Reads): PostgresCoupons => {
  const find = async (table: 'campaigns' | 'claims' | 'coupons', id: string) =>
    isUuid(id) ? (await reading(sql`select * from ${sql.table(table)} where id = ${id}`.execute(db))).rows[0] : undefined;

  return {
    campaign: async (id) => {
      const row = await find('campaigns', id);
      return row ? campaignOf(row) : null;
    },

    campaigns: async ({ limit, cursor }) => {
      const after = keyOfCursor(cursor, ['uuid']);
      const beyond = after ? sql`where id < ${after[0]}` : sql``;
      const { rows } = await reading(sql`select * from campaigns ${beyond} order by id desc limit ${limit + 1}`.execute(db));
      return pageOf(rows.map(campaignOf), limit, ({ id }) => [id]);
    },

    ranking: async (campaignId, limit) => {
      const query = sql<{ rank: number; name: string; issued_at: number }>`
        select rank, name, issued_at from coupons join customers on customers.id = customer_id
        where campaign_id = ${campaignId} order by rank limit ${limit}`;
      return (await reading(query.execute(db))).rows.map(({ rank, name, issued_at }) => ({ rank, name, issuedAt: issued_at }));
    },

    held: async (customerId, { status, now }, { limit, cursor }) => {
      const after = keyOfCursor(cursor, ['uuid']);
      const conditions = [sql`customer_id = ${customerId}`];
      if (after) conditions.push(sql`id < ${after[0]}`);
      const at = sql`${new Date(now).toISOString()}::timestamptz`;
      if (status === 'used') conditions.push(sql`order_id is not null`);
      if (status === 'expired') conditions.push(sql`order_id is null and expires_at <= ${at}`);
      if (status === 'usable') conditions.push(sql`order_id is null and expires_at > ${at}`);
      const query = sql`select * from coupons where ${sql.join(conditions, sql` and `)} order by id desc limit ${limit + 1}`;
      return pageOf((await reading(query.execute(db))).rows.map(couponOf), limit, ({ id }) => [id]);
    },

    coupon: async (id, owner) => {
      const row = await find('coupons', id);
      const coupon = row ? couponOf(row) : null;
      return coupon?.customerId === owner ? coupon : null;
    },

    claim: async (id, owner) => {
      const row = await find('claims', id);
      const claim = row ? claimOf(row) : null;
      if (claim?.customerId !== owner) return null;
      const coupon = claim.couponId === null ? null : await find('coupons', claim.couponId);
      return { claim, coupon: coupon ? couponOf(coupon) : null };
    },

    holders: async (campaignId) => {
      const query = sql<{ quantity: number; customers: string[] | null }>`
        select quantity, (select array_agg(customer_id) from coupons where campaign_id = campaigns.id) as customers
        from campaigns where id = ${campaignId}`;
      const [row] = (await reading(query.execute(db))).rows;
      return row ? { quantity: row.quantity, customers: row.customers ?? [] } : null;
    },

    issuedCount: async (campaignId) => {
      const query = sql<{ issued: number }>`select issued from campaigns where id = ${campaignId}`;
      return (await reading(query.execute(db))).rows[0]?.issued ?? null;
    },

    holdersAmong: async (campaignId, customerIds) => {
      const query = sql<{ customer_id: string }>`
        select customer_id from coupons where campaign_id = ${campaignId} and customer_id = any(${customerIds}::text[])`;
      return (await reading(query.execute(db))).rows.map(({ customer_id }) => customer_id);
    },
  };
};
