import { expect, inject, test } from 'vitest';
import { postgresWorld } from '../support/postgres.ts';
import { readsContract } from './reads.ts';
import { shopRacesContract } from './shop-races.ts';
import { transactContract } from './transact.ts';

const make = () => postgresWorld(inject('databaseUrl'));

transactContract('postgres', make);
readsContract('postgres', make);
shopRacesContract('postgres', make);

test('postgres: the moment of a decision is the database’s', async () => {
  const world = await make();
  try {
    const clock = async () =>
      Number((await world.database.query('select extract(epoch from clock_timestamp()) * 1000 as ms'))[0].ms);
    const before = await clock();
    const now = await world.transact({}, (books) => books.now);
    expect(now).toBeGreaterThanOrEqual(Math.floor(before));
    expect(now).toBeLessThanOrEqual(await clock());
  } finally {
    await world.close();
  }
});
