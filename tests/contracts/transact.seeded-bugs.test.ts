import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, inject, test } from 'vitest';
import { postgresTransact } from '../../adapters/postgres/transact.ts';
import { type Books, emptyShelves, type Kind, keyOf, kinds, openBatch, type Scope, type Transact } from '../../core/books.ts';
import type { Once } from '../../core/shared/actor.ts';
import { won } from '../../core/shared/money.ts';
import { DomainError } from '../../core/shared/refusal.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { memoryWorld } from '../support/memory.ts';
import { migratedDatabase } from '../support/postgres.ts';
import { keyServesOnce, neverInterleaves, transactChecks } from './transact.ts';
import type { StoreWorld } from './world.ts';

type Guarantee = keyof typeof transactChecks & string;

/** Reads, decides and writes with time between, as a use case does that loads, changes and saves without a row lock. */
const withoutRowLock = (right: Transact): Transact => {
  const shelves = emptyShelves();
  return async (scope, decide) => {
    const records = emptyShelves();
    for (const kind of kinds)
      for (const key of scope[kind] ?? []) {
        const record = shelves[kind].get(key);
        if (record) (records[kind] as Map<string, unknown>).set(key, record);
      }
    await tick();
    const batch = openBatch({ now: Date.now(), records, remembered: new Map() });
    const result = batch.decide(scope, decide);
    await tick();
    const { records: changed } = batch.changes();
    const scopeOf: Record<string, string[]> = {};
    const after = kinds.flatMap((kind) =>
      [...changed[kind].created, ...changed[kind].updated.map((update) => update.after)].map((record) => {
        const key = (keyOf[kind] as (record: unknown) => string)(record);
        (shelves[kind] as Map<string, unknown>).set(key, record);
        scopeOf[kind] = [...(scopeOf[kind] ?? []), key];
        return [kind, record] as const;
      }),
    );
    await right(scopeOf as Scope, (books) => {
      for (const [kind, record] of after) books.put(kind as Kind, record as never);
    });
    return result;
  };
};

/** Decides all that comes in one turn of the event loop together; when one throws, all fail. */
const allOrNothingTogether = (right: Transact): Transact => {
  let waiting: { scope: Scope; decide: (books: Books) => unknown }[] = [];
  let batch: Promise<unknown[]> | undefined;
  return async (scope, decide) => {
    const place = waiting.push({ scope, decide }) - 1;
    batch ??= tick().then(() => {
      const commands = waiting;
      waiting = [];
      batch = undefined;
      const union = Object.fromEntries(kinds.map((kind) => [kind, commands.flatMap((command) => command.scope[kind] ?? [])]));
      return right(union, (books) => commands.map((command) => command.decide(books)));
    });
    return (await batch)[place] as never;
  };
};

/** Decides what comes in one turn of the event loop from the last to the first. */
const newestFirst = (right: Transact): Transact => {
  let waiting: (() => void)[] = [];
  return async (scope, decide) => {
    const turn = Promise.withResolvers<void>();
    waiting.push(turn.resolve);
    if (waiting.length === 1)
      tick().then(() => {
        for (const go of waiting.splice(0).reverse()) go();
        waiting = [];
      });
    await turn.promise;
    return right(scope, decide);
  };
};

/** The books, with something done differently. */
const books =
  (change: (books: Books) => Partial<Books>) =>
  (right: Transact): Transact =>
  (scope, decide) =>
    right(scope, (given) => decide({ ...given, ...change(given) }));

/** Each record changed on its way in. */
const storing = (change: (record: never, kind: Kind) => unknown) =>
  books(({ put, create }) => ({
    put: (kind, record) => put(kind, change(record as never, kind) as never),
    create: (kind, record) => create(kind, change(record as never, kind) as never),
  }));

const keys =
  (change: (once: Once) => Once | undefined) =>
  (right: Transact): Transact =>
  (scope, decide) =>
    right({ ...scope, once: scope.once && change(scope.once) }, decide);

const sortedKeys = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(sortedKeys)
    : value && typeof value === 'object'
      ? Object.fromEntries(
          Object.entries(value)
            .toSorted(([a], [b]) => a.length - b.length || (a < b ? -1 : 1))
            .map(([key, part]) => [key, sortedKeys(part)]),
        )
      : value;

const cut = <T>(record: T, fields: Partial<Record<keyof T, unknown>>): T => ({ ...record, ...fields });

/** A store with a bug, made of a right one, and the guarantees that it breaks. */
const bugs: Record<
  string,
  { breaks: readonly Guarantee[]; transact?(right: Transact): Transact; world?(right: StoreWorld): StoreWorld }
> = {
  'has no row lock': {
    breaks: [
      'never lets decisions on one record interleave',
      'holds all the records that a command names, in whatever order it names them',
      'crosses kinds without a deadlock',
      'what is created and changed again before the commit is written as it was last',
      'of many who create the same key one wins, and the others decide again on what it made',
    ],
    transact: withoutRowLock,
  },
  'keeps what a command put before it threw': {
    breaks: ['throws what the decision throws, and then nothing is changed'],
    transact: (right) => async (scope, decide) => {
      const outcome = await right(scope, (given) => {
        try {
          return { done: decide(given) };
        } catch (thrown) {
          return { thrown };
        }
      });
      if ('thrown' in outcome) throw outcome.thrown;
      return outcome.done;
    },
  },
  'throws an error of its own': {
    breaks: ['throws what the decision throws, and then nothing is changed'],
    transact: (right) => (scope, decide) =>
      right(scope, decide).catch((error) => {
        throw new Error('the transaction failed', { cause: error });
      }),
  },
  'lets one that throws take down those decided with it': {
    breaks: ['a command that throws takes nothing from those decided with it'],
    transact: allOrNothingTogether,
  },
  'decides the newest first': {
    breaks: ['decides the commands of one handle in the order in which they were asked'],
    transact: newestFirst,
  },
  'is not shared by the processes': {
    breaks: ['sees what was committed before, by whichever handle, and so do reads'],
    world: (right) => ({ ...right, other: withoutRowLock(right.transact) }),
  },
  'makes up what does not exist': {
    breaks: [
      'gives undefined for a key that has no record',
      'gives undefined for a key that no record can have, and disturbs nobody',
    ],
    transact: books(({ get }) => ({ get: (kind, key) => get(kind, key) ?? ({} as never) })),
  },
  'does not look at the scope': {
    breaks: ['throws when a decision touches a record that its scope does not name, and changes nothing'],
    transact: (right) => (scope, decide) => {
      const all = Object.fromEntries(
        kinds.map((kind) => [kind, Object.assign([...(scope[kind] ?? [])], { includes: () => true })]),
      );
      return right({ ...all, once: scope.once }, decide);
    },
  },
  'answers before it has written': {
    breaks: ['a new record is there for everybody once its command is resolved'],
    transact: (right) => async (scope, decide) => {
      const rollback = { done: undefined as unknown };
      await right({ ...scope, once: undefined }, (given) => {
        rollback.done = decide(given);
        throw rollback;
      }).catch((thrown) => {
        if (thrown !== rollback) throw thrown;
      });
      tick().then(() => right(scope, decide));
      return rollback.done as never;
    },
  },
  'overwrites what is created again': {
    breaks: ['creates no record where there is one'],
    transact: (right) => (scope, decide) => {
      const all = Object.fromEntries(
        kinds.map((kind) => [kind, Object.assign([...(scope[kind] ?? [])], { includes: () => true })]),
      );
      return right({ ...all, once: scope.once }, (given) => decide({ ...given, create: given.put }));
    },
  },
  'loses facts': {
    breaks: ['commits all that a decision changed, facts included', 'keeps facts exactly as they are'],
    transact: books(() => ({ append: () => {} })),
  },
  'has no idempotency keys': {
    breaks: [
      'keeps the result under an idempotency key: the same key again does not decide',
      'one key at once through both handles has one effect and one result',
      'many keys at once, crossing, each have one effect and one result',
    ],
    transact: keys(() => undefined),
  },
  'decides a refusal again': {
    breaks: ['keeps a refusal too, and names the request that it was decided for'],
    transact: (right) => (scope, decide) =>
      right(scope, (given) => {
        try {
          return decide(given);
        } catch (error) {
          throw error instanceof DomainError ? Object.assign(new Error(), { refused: error }) : error;
        }
      }).catch((error) => {
        throw error?.refused ?? error;
      }),
  },
  'keeps a fault as if it were an answer': {
    breaks: ['forgets a key whose command failed by a fault: it is decided again'],
    transact: (right) => async (scope, decide) => {
      let fault: unknown;
      const done = await right(scope, (given) => {
        try {
          return decide(given);
        } catch (error) {
          fault = error;
          return null as never;
        }
      });
      if (fault !== undefined) throw fault;
      return done;
    },
  },
  'does not compare fingerprints': {
    breaks: [
      'refuses a key that comes with another fingerprint',
      'one key at once with two fingerprints: one decides, the other is refused',
    ],
    transact: keys((once) => ({ ...once, fingerprint: '' })),
  },
  'shares keys among subjects': {
    breaks: ['a key belongs to its subject and its operation'],
    transact: keys((once) => ({ ...once, subject: '' })),
  },
  'never forgets a key': {
    breaks: ['a key serves anew when its time is over, once'],
    world: (right) => ({ ...right, expire: async () => {} }),
  },
  'keeps results as jsonb': {
    breaks: ['gives a kept result back byte for byte'],
    transact: (right) => async (scope, decide) => sortedKeys(await right(scope, decide)) as never,
  },
  'decides by a clock of each process': {
    breaks: ['shares one clock that does not go back'],
    world: (right) => ({ ...right, other: books(({ now }) => ({ now: now - 60_000 }))(right.other) }),
  },
  'trims text': {
    breaks: ['keeps customers, logins and sessions exactly as they are', 'keeps products and SKUs exactly as they are'],
    transact: storing((record: { name?: string }) => cut(record, record.name === undefined ? {} : { name: record.name.trim() })),
  },
  'forgets the order of what is in a cart': {
    breaks: ['keeps carts exactly as they are'],
    transact: storing((record: { items?: { sku: string }[] }) =>
      cut(record, record.items ? { items: record.items.toSorted((a, b) => (a.sku < b.sku ? -1 : 1)) } : {}),
    ),
  },
  'does not write a payment': {
    breaks: ['keeps orders exactly as they are, lines and payment included'],
    transact: storing((record: { payment?: unknown }) => cut(record, record.payment ? { payment: null } : {})),
  },
  'counts money in 32 bits': {
    breaks: ['keeps accounts exactly as they are'],
    transact: storing((record: { balance?: number }) => cut(record, record.balance ? { balance: won(record.balance | 0) } : {})),
  },
};

describe('the contract of Transact finds a store that', () => {
  for (const [bug, { breaks, transact = (right: Transact) => right, world = (right: StoreWorld) => right }] of Object.entries(
    bugs,
  ))
    test.each(breaks)(`${bug}: %s`, async (guarantee) => {
      const right = await memoryWorld();
      const handle = transact(right.transact);
      const check = transactChecks[guarantee] as (world: StoreWorld) => Promise<void>;
      await expect(check(world({ ...right, transact: handle, other: handle }))).rejects.toThrow();
    });

  test('and every guarantee has a bug that breaks it', () => {
    expect(new Set(Object.values(bugs).flatMap(({ breaks }) => breaks))).toEqual(new Set(Object.keys(transactChecks)));
  });
});

/** Rounds until a race comes out wrong: on Postgres a bug shows soon, but not each time. */
const ROUNDS = 20;

describe('the contract of Transact finds a Postgres', () => {
  const checking = async (
    { seed = '', rewrite }: { seed?: string; rewrite?: (message: Buffer) => Buffer },
    check: (world: StoreWorld) => Promise<void>,
  ): Promise<unknown> => {
    const database = await migratedDatabase(inject('databaseUrl'));
    if (seed) await database.query(seed);
    const proxy = await faultProxy(database.url, rewrite ? { rewrite } : {});
    const lanes = [postgresTransact(proxy.url), postgresTransact(proxy.url)] as const;
    const [{ transact }, { transact: other }] = lanes;
    await Promise.all([transact({}, () => null), other({}, () => null)]);
    const { reads, claimLog, holders, everything } = database;
    const nothing = async () => {};
    const world: StoreWorld = { transact, other, reads, claimLog, holders, everything, expire: nothing, close: nothing };
    try {
      for (let i = 0; i < ROUNDS; i++) await check(world);
      return 'nothing found';
    } catch (error) {
      return (error as Error).name;
    } finally {
      await Promise.all(lanes.map((lane) => lane.close()));
      await proxy.close();
      await database.drop();
    }
  };
  const blanked = (pattern: RegExp) => (message: Buffer) => {
    const text = message.toString('latin1');
    return pattern.test(text)
      ? Buffer.from(
          text.replace(pattern, (found) => ' '.repeat(found.length)),
          'latin1',
        )
      : message;
  };

  test('without bugs: nothing', async () => {
    const both = async (world: StoreWorld) => {
      await neverInterleaves(world);
      await keyServesOnce(world);
    };
    expect(await checking({ rewrite: blanked(/nothing like it/) }, both)).toBe('nothing found');
  });

  test('that takes no row lock', async () => {
    expect(await checking({ rewrite: blanked(/for no key update of \w+/) }, neverInterleaves)).toBe('AssertionError');
  });

  test('that has no UNIQUE on idempotency keys', async () => {
    const seed = 'alter table idempotency_keys drop constraint idempotency_keys_pkey';
    expect(await checking({ seed }, keyServesOnce)).toBe('AssertionError');
  });

  test('that has no UNIQUE on accounts', async () => {
    const seed = 'alter table accounts drop constraint accounts_pkey';
    const check = transactChecks['what is created and changed again before the commit is written as it was last'];
    expect(await checking({ seed }, check as (world: StoreWorld) => Promise<void>)).toBe('AssertionError');
  });
});
