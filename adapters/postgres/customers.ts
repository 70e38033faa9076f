import type { Customers } from '../../core/ports.ts';
import { isUuid } from '../../core/shared/uuid.ts';
import { type Reads, reading } from './connection.ts';
import { customerOf, loginOf, sessionOf } from './tables.ts';

export const postgresCustomers = ({ db }: Reads): Customers => ({
  find: async (id) => {
    const row = await reading(db.selectFrom('customers').selectAll().where('id', '=', id).executeTakeFirst());
    return row ? customerOf(row) : null;
  },
  login: async (email) => {
    const row = await reading(db.selectFrom('logins').selectAll().where('email', '=', email).executeTakeFirst());
    return row ? loginOf(row) : null;
  },
  session: async (id) => {
    if (!isUuid(id)) return null;
    const row = await reading(db.selectFrom('sessions').selectAll().where('id', '=', id).executeTakeFirst());
    return row ? sessionOf(row) : null;
  },
});
