import { sql } from 'kysely';
import { type AccountName, accountName, entryOf } from '../../core/balance/account.ts';
import type { Accounts } from '../../core/ports.ts';
import { won } from '../../core/shared/money.ts';
import { keyOfCursor, pageOf } from '../../core/shared/page.ts';
import { type Reads, reading } from './connection.ts';
import type { Database } from './schema.ts';
import { accountOf } from './tables.ts';

export const postgresAccounts = ({ db }: Reads): Accounts => ({
  find: async (customerId) => {
    const row = await reading(db.selectFrom('accounts').selectAll().where('customer_id', '=', customerId).executeTakeFirst());
    return row ? accountOf(row) : null;
  },

  entries: async (customerId, { limit, cursor }) => {
    const after = keyOfCursor(cursor, ['uuid']);
    const account = accountName(customerId);
    // Each side has its own index, which holds customers' accounts only; the predicate must say so for the planner to use it.
    const side = (column: 'from_account' | 'to_account') => sql`(
      select * from transfers
      where ${sql.ref(column)} = ${account} and ${sql.ref(column)} not in ('cash_in', 'revenue')
        ${after ? sql`and id < ${after[0]}` : sql``}
      order by id desc limit ${limit + 1})`;
    const query = sql<
      Database['transfers']
    >`${side('from_account')} union all ${side('to_account')} order by id desc limit ${limit + 1}`;
    const { rows } = await reading(query.execute(db));
    const entries = rows.map((row) =>
      entryOf(
        {
          id: row.id,
          kind: row.kind,
          from: row.from_account as AccountName,
          to: row.to_account as AccountName,
          amount: won(row.amount),
          balance: won(row.balance),
          orderId: row.order_id,
          createdAt: row.created_at,
        },
        customerId,
      ),
    );
    return pageOf(entries, limit, ({ id }) => [id]);
  },
});
