import { type RawBuilder, sql } from 'kysely';
import type { Orders } from '../../core/ports.ts';
import { keyOfCursor, pageOf } from '../../core/shared/page.ts';
import { isUuid } from '../../core/shared/uuid.ts';
import { type Reads, reading } from './connection.ts';
import { orderOf, orderSelect } from './tables.ts';

export const postgresOrders = ({ db }: Reads): Orders => {
  const select = async (conditions: readonly (RawBuilder<unknown> | null)[], limit: number) => {
    const where = conditions.filter((condition) => condition !== null);
    const query = sql`select ${sql.raw(orderSelect)} from orders where ${sql.join(where, sql` and `)} order by orders.id desc limit ${limit}`;
    return (await reading(query.execute(db))).rows.map(orderOf);
  };
  const ownedBy = (owner: string | null) => (owner === null ? null : sql`customer_id = ${owner}`);

  const one = async (id: string, condition: RawBuilder<unknown>, owner: string | null) =>
    isUuid(id) ? (await select([condition, ownedBy(owner)], 1))[0] : undefined;

  return {
    find: async (id, owner) => (await one(id, sql`orders.id = ${id}`, owner)) ?? null,
    payment: async (id, owner) => (await one(id, sql`payment_id = ${id}`, owner))?.payment ?? null,
    due: async (limit) => {
      const query = sql`select ${sql.raw(orderSelect)} from orders
        where status = 'pending' and expires_at <= clock_timestamp() order by expires_at limit ${limit}`;
      return (await reading(query.execute(db))).rows.map(orderOf);
    },
    page: async (owner, { status }, { limit, cursor }) => {
      const after = keyOfCursor(cursor, ['uuid']);
      const conditions = [
        ownedBy(owner),
        status === undefined ? null : sql`status = ${status}`,
        after ? sql`orders.id < ${after[0]}` : null,
        sql`true`,
      ];
      return pageOf(await select(conditions, limit + 1), limit, ({ id }) => [id]);
    },
  };
};
