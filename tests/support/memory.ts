import { memoryStore } from '../../adapters/memory/store.ts';
import { type Books, keyOf, type Transact } from '../../core/books.ts';
import { hours } from '../../core/shared/time.ts';
import type { StoreWorld } from '../contracts/world.ts';

/** The memory store, new. Both handles are the same: it is one process. */
export const memoryWorld = async (): Promise<StoreWorld> => {
  // Its clock can be put forward, never back.
  let ahead = 0;
  const { transact: inner, facts, claimLog, holders, ...reads } = memoryStore({ now: () => Date.now() + ahead });

  /** Every key that was ever written: the store itself lists products and orders only. */
  const keys = { skus: new Set<string>(), accounts: new Set<string>() };
  const transact: Transact = (scope, decide) =>
    inner(scope, (books) => {
      const noting =
        (write: Books['put']): Books['put'] =>
        (kind, record) => {
          if (kind === 'skus') keys.skus.add(keyOf[kind](record));
          if (kind === 'accounts') keys.accounts.add(keyOf[kind](record));
          write(kind, record);
        };
      return decide({ ...books, put: noting(books.put), create: noting(books.create) });
    });

  return {
    transact,
    other: transact,
    reads,
    claimLog: { ...claimLog, flush: async () => {} },
    holders,
    everything: async () => ({
      skus: await reads.products.skus([...keys.skus]),
      accounts: (await Promise.all([...keys.accounts].map((id) => reads.accounts.find(id)))).filter(
        (account) => account !== null,
      ),
      orders: (await reads.orders.page(null, {}, { limit: 10_000 })).items,
      transfers: [...facts.transfers],
      adjustments: [...facts.adjustments],
      events: [...facts.events],
    }),
    expire: async () => {
      ahead += hours(25);
    },
    close: async () => {},
  };
};
