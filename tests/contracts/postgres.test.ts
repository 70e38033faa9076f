import { beforeAll, expect, inject, test } from 'vitest';
import { postgresWorld } from '../support/postgres.ts';
import { couponsContract } from './coupons.ts';
import { readsContract } from './reads.ts';
import { shopRacesContract } from './shop-races.ts';
import { transactContract } from './transact.ts';
import type { StoreWorld } from './world.ts';

let shared: Awaited<ReturnType<typeof postgresWorld>>;
beforeAll(async () => {
  shared = await postgresWorld(inject('databaseUrl'));
  return shared.close;
});
/** As new: a database for each check would take most of the time. */
const make = async (): Promise<StoreWorld> => {
  await shared.database.empty();
  return { ...shared, close: async () => {} };
};

transactContract('postgres', make);
readsContract('postgres', make);
shopRacesContract('postgres', make);
couponsContract('postgres', make);

test('postgres: the moment of a decision is the database’s', async () => {
  const { transact, database } = shared;
  const clock = async () => Number((await database.query('select extract(epoch from clock_timestamp()) * 1000 as ms'))[0].ms);
  const before = Math.floor(await clock());
  const now = await transact({}, (books) => books.now);
  expect(now).toBeGreaterThanOrEqual(before);
  expect(now).toBeLessThanOrEqual(await clock());
});
