import type { Carts } from '../../core/ports.ts';
import { type Reads, reading } from './connection.ts';

export const postgresCarts = ({ db }: Reads): Carts => ({
  find: async (customerId) => {
    const row = await reading(db.selectFrom('carts').selectAll().where('customer_id', '=', customerId).executeTakeFirst());
    return row ? { customerId, items: row.items } : null;
  },
});
