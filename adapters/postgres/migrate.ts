import { Kysely, PostgresDialect } from 'kysely';
import { Migrator } from 'kysely/migration';
import { clientConfig, isConnectionLoss, openPool } from './connection.ts';
import * as shop from './migrations/0001-shop.ts';
import * as coupons from './migrations/0002-coupons.ts';
import * as expiry from './migrations/0003-expiry.ts';

const migrations = { '0001-shop': shop, '0002-coupons': coupons, '0003-expiry': expiry };

/**
 * Brings the schema up to date, on a connection of its own that may take its time. Safe to run by many processes at once: one
 * migrates, the others wait and find it done.
 */
export const migrate = async (connectionString: string): Promise<void> => {
  const pool = openPool({ ...clientConfig(connectionString, []), max: 1 });
  const db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) });
  try {
    const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } });
    const { error, results } = await migrator.migrateToLatest();
    const failed = results?.find(({ status }) => status === 'Error');
    if (error && isConnectionLoss(error))
      throw new Error(`the database does not answer: ${(error as Error).message}`, { cause: error });
    if (error) throw new Error(`migration ${failed?.migrationName ?? ''} failed: ${(error as Error).message}`, { cause: error });
  } finally {
    await db.destroy();
  }
};
