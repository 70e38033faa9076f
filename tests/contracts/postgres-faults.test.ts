import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { connectReads } from '../../adapters/postgres/connection.ts';
import { postgresProducts } from '../../adapters/postgres/products.ts';
import { type PostgresTransact, postgresTransact } from '../../adapters/postgres/transact.ts';
import { newUuid } from '../../adapters/system/system.ts';
import type { Account } from '../../core/balance/account.ts';
import type { Books, Scope, Transact } from '../../core/books.ts';
import type { Sku } from '../../core/catalog/product.ts';
import { won } from '../../core/shared/money.ts';
import { refuse, Unavailable } from '../../core/shared/refusal.ts';
import { type FaultProxy, faultProxy } from '../support/fault-proxy.ts';
import { migratedDatabase, type TestDatabase } from '../support/postgres.ts';
import { newAccount, newEvent, newOnce, newProduct, newSku, refusalOf } from './world.ts';

let database: TestDatabase;
/** A lane that no fault touches. */
let steady: PostgresTransact;
const atTheEnd: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  database = await migratedDatabase(inject('databaseUrl'));
  steady = postgresTransact(database.url);
  await steady.transact({}, () => null);
});
afterAll(async () => {
  for (const end of atTheEnd.reverse()) await end();
  await steady.close();
  await database.drop();
});

interface Lane extends PostgresTransact {
  readonly proxy: FaultProxy;
  /** The backends that serve it now. */
  backends(): Promise<number[]>;
  /** Resolves when one of them waits for a lock. */
  waitsForLock(): Promise<void>;
  /** Ends its backends and resolves when they are gone. */
  terminate(): Promise<void>;
}

/** A lane of its own behind a proxy of its own, warm. */
const openLane = async (on: TestDatabase = database): Promise<Lane> => {
  const proxy = await faultProxy(on.url);
  const name = `lane ${newUuid()}`;
  const url = new URL(proxy.url);
  url.searchParams.set('application_name', name);
  const lane = postgresTransact(url.href);
  atTheEnd.push(async () => {
    await proxy.close();
    await lane.close();
  });
  await lane.transact({}, () => null);
  const backends = async (condition = 'true') =>
    (await on.query(`select pid from pg_stat_activity where application_name = $1 and ${condition}`, [name])).map(
      ({ pid }) => pid,
    );
  return {
    ...lane,
    proxy,
    backends,
    waitsForLock: () =>
      vi.waitFor(async () => expect(await backends(`wait_event_type = 'Lock'`)).not.toEqual([]), { timeout: 10_000 }),
    async terminate() {
      const pids = await backends();
      await on.query('select pg_terminate_backend(pid, 10000) from unnest($1::int[]) as pid', [pids]);
    },
  };
};

const newAccounts = async (count: number): Promise<Account[]> => {
  const accounts = Array.from({ length: count }, () => newAccount());
  await steady.transact({}, (books) => {
    for (const account of accounts) books.create('accounts', account);
  });
  return accounts;
};
const newAccountId = async (): Promise<string> => ((await newAccounts(1))[0] as Account).customerId;

/** One more in the account, and an event that says so: the account's balance counts effects, the events prove them. */
const effect = (books: Books, customerId: string): number => {
  const account = books.get('accounts', customerId) as Account;
  const balance = won(account.balance + 1);
  books.put('accounts', { ...account, balance });
  books.append('events', newEvent({ subject: customerId, data: { balance } }));
  return balance;
};
const addOne = (transact: Transact, customerId: string, scope: Scope = {}): Promise<number> =>
  transact({ accounts: [customerId], ...scope }, (books) => effect(books, customerId));

/** How often the command took effect, in the account and in the outbox. */
const effects = async (customerId: string): Promise<[number, number]> => {
  const account = await database.reads.accounts.find(customerId);
  const [{ events }] = await database.query('select count(*)::int as events from outbox where subject = $1', [customerId]);
  return [account?.balance ?? 0, events];
};

const holdAccount = (customerId: string) =>
  database.hold('select 1 from accounts where customer_id = $1 for update', [customerId]);

const unavailable = async (work: Promise<unknown>): Promise<unknown> => {
  const error = await work.then(
    (done) => ({ done }),
    (thrown) => thrown,
  );
  return error instanceof Unavailable ? error.outcome : error;
};

describe('a backend that is terminated', () => {
  test('while the lane is idle: the next command does not notice', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    for (let i = 1; i <= 3; i++) {
      await lane.terminate();
      expect(await addOne(lane.transact, id)).toBe(i);
    }
    expect(await effects(id)).toEqual([3, 3]);
  });

  test('while it waits for a lock: decided once, on another connection', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const letGo = await holdAccount(id);
    let decided = 0;
    const work = lane.transact({ accounts: [id] }, (books) => {
      decided++;
      return effect(books, id);
    });
    await lane.waitsForLock();
    await lane.terminate();
    await lane.waitsForLock();
    await letGo();
    expect([await work, decided, await effects(id)]).toEqual([1, 1, [1, 1]]);
  });

  test('between the decision and the write: decided again on fresh records, one effect', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const seen: number[] = [];
    const work = lane.transact({ accounts: [id] }, (books) => {
      // Nothing that is said from here on reaches the server.
      if (seen.length === 0) lane.proxy.hold();
      seen.push(books.get('accounts', id)?.balance ?? -1);
      return effect(books, id);
    });
    await vi.waitFor(() => expect(seen).toHaveLength(1));
    await lane.terminate();
    expect(await addOne(steady.transact, id)).toBe(1);
    lane.proxy.release();
    expect([await work, seen, await effects(id)]).toEqual([2, [0, 1], [2, 2]]);
  });

  test('at COMMIT, before it arrives: decided again, one effect', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const arrives = lane.proxy.holdCommit();
    const work = addOne(lane.transact, id);
    const held = await arrives;
    await lane.terminate();
    held.drop();
    expect([await work, await effects(id)]).toEqual([1, [1, 1]]);
  });

  test('again and again under load: what was acknowledged is there, once each', async () => {
    const lanes = await Promise.all([openLane(), openLane()]);
    const accounts = await newAccounts(5);
    const onces = Array.from({ length: 400 }, () => newOnce());
    const idOf = (i: number) => (accounts[i % 5] as Account).customerId;
    let settled = 0;
    const attempts = onces.map((once, i) =>
      addOne((lanes[i % 2] as Lane).transact, idOf(i), { once }).finally(() => {
        settled++;
      }),
    );
    const all = Promise.allSettled(attempts);
    for (let i = 0; i < 10 && settled < onces.length; i++) await (lanes[i % 2] as Lane).terminate();
    const outcomes = await all;
    for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(Unavailable);
    // Whatever was answered, asking again under the same key gives the truth and changes nothing that was done.
    const again = await Promise.all(onces.map((once, i) => addOne(steady.transact, idOf(i), { once })));
    for (const [i, outcome] of outcomes.entries()) if (outcome.status === 'fulfilled') expect(again[i]).toBe(outcome.value);
    for (const { customerId } of accounts) expect(await effects(customerId)).toEqual([80, 80]);
  });
});

describe('the reply to a COMMIT that is lost', () => {
  test('after it was committed: the command resolves, with its result, and was decided once', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    for (let round = 1; round <= 3; round++) {
      const arrives = lane.proxy.holdCommit();
      let decided = 0;
      const work = lane.transact({ accounts: [id] }, (books) => {
        decided++;
        return { balance: effect(books, id), round };
      });
      await (await arrives).pass();
      expect([await work, decided, await effects(id)]).toEqual([{ balance: round, round }, 1, [round, round]]);
    }
  });

  test('before it was committed: decided again, one effect', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const arrives = lane.proxy.holdCommit();
    const work = addOne(lane.transact, id);
    (await arrives).drop();
    expect([await work, await effects(id)]).toEqual([1, [1, 1]]);
  });

  test('while it is still under way: the lane waits for what becomes of it, and it is committed', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const arrives = lane.proxy.holdCommit();
    let decided = 0;
    const work = lane.transact({ accounts: [id] }, (books) => {
      decided++;
      return effect(books, id);
    });
    const held = await arrives;
    held.cut();
    await lane.waitsForLock();
    await held.pass();
    expect([await work, decided, await effects(id)]).toEqual([1, 1, [1, 1]]);
  });

  test('while it is still under way, and then rolled back: decided again, one effect', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const arrives = lane.proxy.holdCommit();
    const work = addOne(lane.transact, id);
    const held = await arrives;
    held.cut();
    await lane.waitsForLock();
    held.drop();
    expect([await work, await effects(id)]).toEqual([1, [1, 1]]);
  });

  test('for a batch of many: each gets its own result or refusal, each has its effect once', async () => {
    const lane = await openLane();
    const accounts = await newAccounts(50);
    const letGo = await holdAccount((accounts[0] as Account).customerId);
    const work = accounts.map(({ customerId }, i) =>
      refusalOf(
        lane.transact({ accounts: [customerId], once: newOnce() }, (books) => {
          const balance = effect(books, customerId);
          return i % 5 === 4 ? refuse({ code: 'order_expired' }) : `${i}: ${balance}`;
        }),
      ),
    );
    await lane.waitsForLock();
    const first = lane.proxy.holdCommit();
    await letGo();
    await (await first).pass();
    const second = lane.proxy.holdCommit();
    await (await second).pass();
    expect(await Promise.all(work)).toEqual(
      accounts.map((_, i) => (i % 5 === 4 ? { code: 'order_expired' } : { done: `${i}: 1` })),
    );
    const counts = await Promise.all(accounts.map(({ customerId }) => effects(customerId)));
    expect(counts).toEqual(accounts.map((_, i) => (i % 5 === 4 ? [0, 0] : [1, 1])));
  });

  test('connections reset at any time under load: what was acknowledged is there, once each', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const onces = Array.from({ length: 300 }, () => newOnce());
    let settled = 0;
    const all = Promise.allSettled(
      onces.map((once) =>
        addOne(lane.transact, id, { once }).finally(() => {
          settled++;
        }),
      ),
    );
    for (let i = 0; i < 10 && settled < onces.length; i++) {
      lane.proxy.reset();
      const { attempts } = lane.proxy;
      await vi.waitFor(() => expect(lane.proxy.attempts > attempts || settled === onces.length).toBe(true), { interval: 1 });
    }
    const outcomes = await all;
    for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(Unavailable);
    const again = await Promise.all(onces.map((once) => addOne(steady.transact, id, { once })));
    for (const [i, outcome] of outcomes.entries()) if (outcome.status === 'fulfilled') expect(again[i]).toBe(outcome.value);
    expect(await effects(id)).toEqual([300, 300]);
  });
});

describe('a server that is away for a while', () => {
  test('commands wait for it, and are decided when it is back', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    lane.proxy.resetNew(true);
    const { attempts } = lane.proxy;
    const work = Array.from({ length: 10 }, () => addOne(lane.transact, id));
    await vi.waitFor(() => expect(lane.proxy.attempts).toBeGreaterThan(attempts + 1));
    lane.proxy.resetNew(false);
    expect(await Promise.all(work)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(await effects(id)).toEqual([10, 10]);
  });

  /** Reads through a proxy of their own. */
  const openReads = async () => {
    const proxy = await faultProxy(database.url);
    const connection = connectReads(proxy.url);
    atTheEnd.push(async () => {
      await proxy.close();
      await connection.close();
    });
    return { proxy, connection, products: postgresProducts(connection) };
  };

  test('reads say that it is away, and read again when it is back', async () => {
    const { proxy, connection, products } = await openReads();
    expect([await products.find(newUuid()), await connection.ping()]).toEqual([null, true]);
    await proxy.refuse();
    expect(await connection.ping()).toBe(false);
    expect(await unavailable(products.find(newUuid()))).toBe('nothing_changed');
    expect(await unavailable(products.page({ sort: 'newest' }, { limit: 1 }))).toBe('nothing_changed');
    await proxy.listen();
    expect([await products.find(newUuid()), await connection.ping()]).toEqual([null, true]);
  });

  // pg-pool listens to the 'error' event of idle clients only: without our listener the process would end.
  test('a read whose connection is lost on its way: it says so, and the process lives on', async () => {
    const { proxy, products } = await openReads();
    await products.find(newUuid());
    const vitest = process.listeners('uncaughtException');
    const uncaught: unknown[] = [];
    process.removeAllListeners('uncaughtException').on('uncaughtException', (error) => uncaught.push(error));
    try {
      proxy.hold();
      const work = unavailable(products.find(newUuid()));
      proxy.reset();
      expect(await work).toBe('nothing_changed');
      proxy.release();
      expect(await products.find(newUuid())).toBeNull();
      expect(uncaught).toEqual([]);
    } finally {
      process.removeAllListeners('uncaughtException');
      for (const listener of vitest) process.on('uncaughtException', listener);
    }
  });

  test('latency changes nothing but the time', async () => {
    const lanes = await Promise.all([openLane(), openLane()]);
    for (const { proxy } of lanes) proxy.latency(10);
    const id = await newAccountId();
    const results = await Promise.all(Array.from({ length: 60 }, (_, i) => addOne((lanes[i % 2] as Lane).transact, id)));
    expect(results.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
  });
});

describe('commands decided together', () => {
  /** Lets the lane collect the commands into one batch: one before them holds it up. */
  const together = async <T>(lane: Lane, ask: () => Promise<T>[]): Promise<Promise<T>[]> => {
    const id = await newAccountId();
    const letGo = await holdAccount(id);
    const first = addOne(lane.transact, id);
    await lane.waitsForLock();
    const work = ask();
    await letGo();
    await first;
    return work;
  };

  test('one that breaks a rule of the database fails alone, and the 50 others are committed', async () => {
    const lane = await openLane();
    const product = newProduct();
    const sku = newSku(product, { stock: 100 });
    await steady.transact({}, (books) => {
      books.create('products', product);
      books.create('skus', sku);
    });
    const before = lane.stats.batches;
    const work = await together(lane, () =>
      Array.from({ length: 51 }, (_, i) =>
        refusalOf(
          lane.transact({ skus: [sku.sku] }, (books) => {
            const known = books.get('skus', sku.sku) as Sku;
            if (known.stock < 0) refuse({ code: 'insufficient_stock', sku: sku.sku, requested: 1, available: known.stock });
            books.put('skus', { ...known, stock: i === 25 ? -1 : known.stock - 1 });
            return known.stock;
          }),
        ),
      ),
    );
    const outcomes = await Promise.all(work);
    const [poison] = outcomes.splice(25, 1);
    expect(poison).toMatchObject({ code: '23514', constraint: 'stock_not_negative' });
    expect(outcomes).toEqual(Array.from({ length: 50 }, (_, i) => ({ done: 100 - i })));
    expect((await database.reads.products.skus([sku.sku]))[0]?.stock).toBe(50);
    // They really were one batch: the first command's, theirs, and then each alone.
    expect(lane.stats.batches - before).toBe(1 + 1 + 51);
  });

  test('one that cannot be written at all fails alone', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const unwritable: ((books: Books) => unknown)[] = [
      (books) => books.append('events', newEvent({ occurredAt: Number.NaN })),
      (books) => books.append('events', newEvent({ subject: 'a\u0000b' })),
      (books) => books.append('events', newEvent({ id: 'no uuid' })),
      (books) => books.append('events', newEvent({ data: { big: 1n } })),
    ];
    const work = await together(lane, () =>
      unwritable.flatMap((write): Promise<string | number>[] => [
        addOne(lane.transact, id),
        lane.transact({}, write).then(
          () => 'written',
          () => 'failed',
        ),
      ]),
    );
    expect(await Promise.all(work)).toEqual([1, 'failed', 2, 'failed', 3, 'failed', 4, 'failed']);
    expect(await effects(id)).toEqual([4, 4]);
  });

  test('two lanes that create the same keys in opposite order both come to an end', async () => {
    const lanes = await Promise.all([openLane(), openLane()]);
    const onces = Array.from({ length: 20 }, () => newOnce());
    const id = await newAccountId();
    const letGo = await holdAccount(id);
    // Both lanes hold a batch of new keys each, and let the same record decide when they go on.
    const use = (lane: Lane, keys: typeof onces) =>
      keys.map((once) => lane.transact({ once }, (books) => books.append('events', newEvent({ subject: once.key }))));
    const first = lanes.map((lane) => addOne(lane.transact, id));
    await Promise.all(lanes.map((lane) => lane.waitsForLock()));
    const work = [...use(lanes[0] as Lane, onces), ...use(lanes[1] as Lane, onces.toReversed())];
    await letGo();
    await Promise.all([...first, ...work]);
    const rows = await database.query('select count(*)::int as count from outbox where subject = any($1)', [
      onces.map(({ key }) => key),
    ]);
    expect(rows).toEqual([{ count: 20 }]);
  });
});

describe('a record that somebody else holds', () => {
  test('for a while: the command waits, then goes on with what the other left', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const client = await database.hold('select 1 from accounts where customer_id = $1 for update', [id]);
    const work = addOne(lane.transact, id);
    await lane.waitsForLock();
    await client();
    expect([await work, await effects(id)]).toEqual([1, [1, 1]]);
  });

  // With a clock read before the locks, at midnight a daily limit would count from zero twice.
  test('moments of decisions on one record do not go back, however long one of them waited', async () => {
    const lane = await openLane();
    // Accounts are held in the order of their keys: the lane waits for the first and does not hold the second yet.
    const ids = (await newAccounts(2)).map(({ customerId }) => customerId).toSorted();
    const [held, shared] = ids as [string, string];
    const moments: number[] = [];
    const decide = (books: Books) => {
      effect(books, shared);
      moments.push(books.now);
    };
    const letGo = await holdAccount(held);
    const waiting = lane.transact({ accounts: [held, shared] }, decide);
    await lane.waitsForLock();
    await steady.transact({ accounts: [shared] }, decide);
    await letGo();
    await waiting;
    expect(moments).toHaveLength(2);
    expect(moments[1]).toBeGreaterThanOrEqual(moments[0] as number);
  });

  // Another lane may have used the key anew since OPENING found it expired.
  test('a key that expired serves once, also when another process was faster', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const once = newOnce();
    await steady.transact({ once }, () => 'old');
    await database.query(`update idempotency_keys set created_at = created_at - interval '25 hours' where key = $1`, [once.key]);
    const letGo = await holdAccount(id);
    const slow = lane.transact({ accounts: [id], once }, () => 'slow');
    await lane.waitsForLock();
    const fast = await steady.transact({ once }, () => 'fast');
    await letGo();
    expect([fast, await slow]).toEqual(['fast', 'fast']);
  });
});

describe('a queue that is full', () => {
  test('turns away at once what is too much, and finishes what waits', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const letGo = await holdAccount(id);
    const first = addOne(lane.transact, id);
    await lane.waitsForLock();
    const waiting = Array.from({ length: 5_000 }, (_, i) => lane.transact({}, () => i));
    expect(lane.stats.waiting).toBe(5_000);
    expect(await unavailable(lane.transact({}, () => 'too much'))).toBe('nothing_changed');
    await letGo();
    expect(await first).toBe(1);
    expect(await Promise.all(waiting)).toEqual(Array.from({ length: 5_000 }, (_, i) => i));
    expect(await lane.transact({}, () => 'room again')).toBe('room again');
  });

  test('a lane that closes finishes what waits, and takes no more', async () => {
    const lane = postgresTransact(database.url);
    const id = await newAccountId();
    const work = Array.from({ length: 300 }, () => addOne(lane.transact, id));
    const closed = lane.close();
    expect(await unavailable(addOne(lane.transact, id))).toBe('nothing_changed');
    await closed;
    expect(await Promise.all(work)).toHaveLength(300);
    expect(await effects(id)).toEqual([300, 300]);
  });
});

describe('a lane whose row was purged', () => {
  // purge() deletes lanes not seen for 7 days, and a batch that only reads rolls its mark back: it may be a living one.
  test('a lost reply to COMMIT does not decide again', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    await addOne(lane.transact, id);
    await database.query('delete from lanes');
    const arrives = lane.proxy.holdCommit();
    const work = addOne(lane.transact, id).catch((error) => error);
    await (await arrives).pass();
    await work;
    expect(await effects(id)).toEqual([2, 2]);
  });
});

describe('a schema that a newer version changes', () => {
  // After a new column Postgres says 0A000 to named statements that select all columns, for as long as the connection lives.
  test('a new column does not disturb a lane that is running', async () => {
    const own = await migratedDatabase(inject('databaseUrl'));
    atTheEnd.push(own.drop);
    const lane = await openLane(own);
    const read = () => lane.transact({ orders: [newUuid()] }, () => 'read');
    expect(await read()).toBe('read');
    await own.query('alter table orders add column more text');
    expect(await read()).toBe('read');
  });
});

/** Each lasts for as long as a command's patience (5 s): they run side by side. */
describe.concurrent('what lasts longer than a command’s patience', () => {
  test('a server away: nothing is changed, and the lane recovers when it is back', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    await lane.proxy.refuse();
    const outcomes = await Promise.all(Array.from({ length: 5 }, () => unavailable(addOne(lane.transact, id))));
    expect(outcomes).toEqual(Array(5).fill('nothing_changed'));
    await lane.proxy.listen();
    expect([await addOne(lane.transact, id), await effects(id)]).toEqual([1, [1, 1]]);
  });

  test('a record held by somebody else: nothing is changed, and it goes on when the record is free', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const letGo = await holdAccount(id);
    const outcomes = await Promise.all(Array.from({ length: 5 }, () => unavailable(addOne(lane.transact, id))));
    expect(outcomes).toEqual(Array(5).fill('nothing_changed'));
    await letGo();
    expect([await addOne(lane.transact, id), await effects(id)]).toEqual([1, [1, 1]]);
  }, 30_000);

  test('a COMMIT that does not arrive: the server ends its transaction, and the command is decided again, once', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const once = newOnce();
    const arrives = lane.proxy.holdCommit();
    const work = addOne(lane.transact, id, { once });
    const held = await arrives;
    held.cut();
    expect(await work).toBe(1);
    // Too late: nobody is there to hear it.
    void held.pass();
    expect([await addOne(lane.transact, id, { once }), await effects(id)]).toEqual([1, [1, 1]]);
  }, 30_000);

  test('a server away after a COMMIT was sent: unknown; it was committed, and its key tells', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    const once = newOnce();
    const arrives = lane.proxy.holdCommit();
    const work = unavailable(addOne(lane.transact, id, { once }));
    const held = await arrives;
    lane.proxy.resetNew(true);
    await held.pass().catch(() => {});
    expect(await work).toBe('unknown');
    lane.proxy.resetNew(false);
    expect(await addOne(lane.transact, id, { once })).toBe(1);
    expect(await effects(id)).toEqual([1, 1]);
  }, 30_000);

  test('one record held by somebody else: commands on other records are decided meanwhile', async () => {
    const lane = await openLane();
    const [busy, ...free] = (await newAccounts(10)).map(({ customerId }) => customerId) as [string, ...string[]];
    const letGo = await holdAccount(busy);
    // The first holds the lane up; those after it are decided together.
    const work = [busy, busy, ...free].map((id) => unavailable(addOne(lane.transact, id)));
    const outcomes = await Promise.all(work);
    await letGo();
    expect(outcomes).toEqual(['nothing_changed', 'nothing_changed', ...free.map(() => ({ done: 1 }))]);
  }, 30_000);

  // statement_timeout is the server's: nothing of it arrives here.
  test('a network that swallows everything on an open connection: the command is told', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    lane.proxy.blackhole(true);
    expect(await unavailable(addOne(lane.transact, id))).toBe('nothing_changed');
    lane.proxy.blackhole(false);
    expect(await addOne(lane.transact, id)).toBe(1);
  }, 12_000);

  test('a network that swallows everything on a new connection: the command is told that nothing was changed', async () => {
    const lane = await openLane();
    const id = await newAccountId();
    lane.proxy.blackhole(true);
    await lane.terminate();
    lane.proxy.reset();
    expect(await unavailable(addOne(lane.transact, id))).toBe('nothing_changed');
    lane.proxy.blackhole(false);
    expect([await addOne(lane.transact, id), await effects(id)]).toEqual([1, [1, 1]]);
  }, 30_000);
});
