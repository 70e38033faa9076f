import { sql } from 'kysely';
import pg from 'pg';
import { postgresAccounts } from '../../adapters/postgres/accounts.ts';
import { postgresCarts } from '../../adapters/postgres/carts.ts';
import { postgresClaimLog } from '../../adapters/postgres/claim-log.ts';
import { type Reads as Connection, connectReads } from '../../adapters/postgres/connection.ts';
import { postgresCoupons } from '../../adapters/postgres/coupons.ts';
import { postgresCustomers } from '../../adapters/postgres/customers.ts';
import { migrate } from '../../adapters/postgres/migrate.ts';
import { postgresOrders } from '../../adapters/postgres/orders.ts';
import { postgresProducts } from '../../adapters/postgres/products.ts';
import { accountOf, orderOf, orderSelect, skuOf } from '../../adapters/postgres/tables.ts';
import { postgresTransact } from '../../adapters/postgres/transact.ts';
import type { Everything, Reads, StoreWorld } from '../contracts/world.ts';
import { freshDatabase } from './servers.ts';

export interface TestDatabase {
  readonly url: string;
  readonly connection: Connection;
  readonly reads: Reads;
  readonly claimLog: StoreWorld['claimLog'];
  readonly holders: StoreWorld['holders'];
  everything(): Promise<Everything>;
  // biome-ignore lint/suspicious/noExplicitAny: a row as pg gives it; each test knows what it asked for.
  query(text: string, values?: readonly unknown[]): Promise<any[]>;
  /** Takes locks with the statement, from outside of the shop, and holds them until it is let go. */
  hold(text: string, values?: readonly unknown[]): Promise<() => Promise<void>>;
  /** Takes everything out of it but the lanes. */
  empty(): Promise<void>;
  drop(): Promise<void>;
}

/** A new database beside the given one, with the shop's schema in it. */
export const migratedDatabase = async (databaseUrl: string): Promise<TestDatabase> => {
  const { url, drop } = await freshDatabase(databaseUrl);
  await migrate(url);
  const connection = connectReads(url);
  const pool = new pg.Pool({ connectionString: url, max: 4 });
  pool.on('error', () => {});
  const query: TestDatabase['query'] = async (text, values = []) => (await pool.query(text, [...values])).rows;
  /** Rows parsed as the shop parses them. */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  const parsed = async (text: string): Promise<any[]> => (await sql.raw(text).execute(connection.db)).rows;

  return {
    url,
    connection,
    reads: {
      customers: postgresCustomers(connection),
      products: postgresProducts(connection),
      accounts: postgresAccounts(connection),
      carts: postgresCarts(connection),
      orders: postgresOrders(connection),
      coupons: postgresCoupons(connection),
    },
    claimLog: postgresClaimLog(connection, { warn: () => {} }),
    holders: postgresCoupons(connection).holders,
    query,
    everything: async () => ({
      skus: (await parsed('select * from skus')).map(skuOf),
      accounts: (await parsed('select * from accounts')).map(accountOf),
      orders: (await parsed(`select ${orderSelect} from orders`)).map(orderOf),
      adjustments: await parsed('select id, sku, delta, stock, reason, by, created_at as "createdAt" from stock_adjustments'),
      transfers: await parsed(`select id, kind, from_account as "from", to_account as "to", amount, balance,
        order_id as "orderId", created_at as "createdAt" from transfers`),
      events: await parsed('select id, type, subject, data, occurred_at as "occurredAt" from outbox order by position'),
    }),
    hold: async (text, values = []) => {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      await client.query('begin');
      await client.query(text, [...values]);
      return () => client.end();
    },
    empty: async () => {
      const tables = await query(`select string_agg(quote_ident(tablename), ', ') as names from pg_tables
        where schemaname = 'public' and tablename not like 'kysely_%' and tablename <> 'lanes'`);
      // As a replica: what is append-only refuses to be truncated.
      await query(`begin; set local session_replication_role = replica; truncate ${tables[0].names} restart identity; commit`);
    },
    drop: async () => {
      await pool.end();
      await connection.close();
      await drop();
    },
  };
};

/** Two lanes, warm, on a new database. */
export const postgresWorld = async (databaseUrl: string): Promise<StoreWorld & { readonly database: TestDatabase }> => {
  const database = await migratedDatabase(databaseUrl);
  const lanes = [postgresTransact(database.url), postgresTransact(database.url)] as const;
  const [{ transact }, { transact: other }] = lanes;
  await Promise.all([transact({}, () => null), other({}, () => null)]);
  return {
    transact,
    other,
    reads: database.reads,
    claimLog: database.claimLog,
    holders: database.holders,
    everything: database.everything,
    database,
    expire: async ({ subject, operation, key }) => {
      await database.query(
        `update idempotency_keys set created_at = created_at - interval '25 hours' where subject = $1 and operation = $2 and key = $3`,
        [subject, operation, key],
      );
    },
    close: async () => {
      await Promise.all(lanes.map((lane) => lane.close()));
      await database.drop();
    },
  };
};
