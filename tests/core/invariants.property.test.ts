import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type Books,
  emptyShelves,
  factKinds,
  type Kind,
  keyOf,
  kinds,
  type Loaded,
  onceKey,
  openBatch,
  type Remembered,
  type Scope,
} from '../../core/books.ts';
import type { Order } from '../../core/order/order.ts';
import type { Actor } from '../../core/shared/actor.ts';
import { DomainError, type Refusal } from '../../core/shared/refusal.ts';
import { minutes } from '../../core/shared/time.ts';
import { violationsOf } from '../support/invariants.ts';
import { countedIds, grantingLock, once, openShop, refusalOf } from '../support/shop.ts';

/** Few customers, few SKUs, little stock and money: so that they meet. */
const SKUS = ['A', 'B', 'C'] as const;
const CUSTOMERS = ['kim', 'lee', 'park'] as const;

const customer = fc.constantFrom(...CUSTOMERS);
const sku = fc.constantFrom(...SKUS);
const payer = fc.oneof({ weight: 3, arbitrary: fc.constant('owner') }, { weight: 1, arbitrary: customer });
/** With a key of few, a command is sometimes sent again, also by somebody else or with other content. */
const key = fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.constantFrom('1', '2', '3') });
const items = fc.uniqueArray(fc.record({ sku, quantity: fc.integer({ min: 0, max: 4 }) }), {
  maxLength: 3,
  selector: (item) => item.sku,
});
/** One of the orders placed last. */
const nth = fc.nat(4);

const command = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('charge'), customer, key, thousands: fc.integer({ min: 0, max: 9 }) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('place'), customer, key, items, pay: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('put'), customer, sku, quantity: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('placeCart'), customer, key, pay: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('pay'), customer: payer, key, nth }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('adjust'), sku, key, delta: fc.integer({ min: -4, max: 6 }).filter(Boolean) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reprice'), sku, price: fc.integer({ min: 1, max: 3_000 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('show'), status: fc.constantFrom('hidden', 'on_sale') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait'), minutes: fc.constantFrom(1, 9, 10, 60 * 24) }) },
);
type Command = typeof command extends fc.Arbitrary<infer C> ? C : never;

type World = ReturnType<typeof openShop>;

/** One product with all SKUs, each to be had five times. */
const openSmallShop = async (options: Parameters<typeof openShop>[0] = {}) => {
  const world = openShop({ lock: grantingLock, ...options });
  const { id } = await world.product({ variants: SKUS.map((code) => ({ sku: code, name: code, stock: 5, price: 700 })) });
  return { ...world, productId: id };
};

/** The command's result or refusal. A fault, which nobody's rule explains, is thrown. */
const run = async (
  { shop, clock, operator, productId, ...world }: World & { productId: string },
  asked: Command,
): Promise<unknown> => {
  const as = (actor: Actor, sent: string | null) => {
    const changes = { operation: asked.do, key: sent ?? '', fingerprint: JSON.stringify(asked) };
    return { actor, once: sent === null ? undefined : once(actor, changes) };
  };
  const by = (id: string): Actor => world.customer(id);
  const change = (changes: object) => shop.catalog.change({ actor: operator }, { id: productId, ...changes });
  const work = (): Promise<unknown> => {
    switch (asked.do) {
      case 'charge':
        return shop.balance.charge(as(by(asked.customer), asked.key), { amount: asked.thousands * 1_000 });
      case 'place':
        return shop.orders.place(as(by(asked.customer), asked.key), {
          items: asked.items,
          pay: asked.pay ? 'balance' : undefined,
        });
      case 'put':
        return shop.cart.putItem(as(by(asked.customer), null), asked);
      case 'placeCart':
        return shop.orders.place(as(by(asked.customer), asked.key), { fromCart: true, pay: asked.pay ? 'balance' : undefined });
      case 'pay':
        return world.books().then(({ orders }) => {
          const { id: orderId, customerId } = orders.at(asked.nth) ?? { id: 'none', customerId: 'kim' };
          return shop.payments.pay(as(by(asked.customer === 'owner' ? customerId : asked.customer), asked.key), { orderId });
        });
      case 'adjust':
        return shop.catalog.adjustStock(as(operator, asked.key), { sku: asked.sku, delta: asked.delta, reason: 'count' });
      case 'reprice':
        return change({ variants: [{ sku: asked.sku, price: asked.price }] });
      case 'show':
        return change({ status: asked.status });
      case 'wait':
        return Promise.resolve(clock.advance(minutes(asked.minutes)));
    }
  };
  const outcome = await refusalOf(work());
  if (outcome instanceof Error) throw outcome;
  return outcome;
};

const frozen = ({ status: _, payment: __, ...order }: Order) => order;

const commands = fc.array(command, { minLength: 1, maxLength: 40, size: 'max' });

/** Runs the commands one after the other, looks at everything after each, and gives what was answered. */
const keepsInvariants = async (asked: readonly Command[]): Promise<string[]> => {
  const world = await openSmallShop();
  const answers: string[] = [];
  const seen = new Map<string, Order>();
  for (const each of asked) {
    const answer = await run(world, each);
    answers.push(`${each.do}: ${(answer as Partial<Refusal>).code ?? 'done'}`);
    const books = await world.books();
    expect(violationsOf(books)).toEqual([]);
    for (const order of books.orders as Order[]) {
      const before = seen.get(order.id);
      if (before) expect(frozen(order), 'an order keeps what it was placed at').toEqual(frozen(before));
      if (before?.payment) expect(order.payment, 'a payment stays').toEqual(before.payment);
      seen.set(order.id, order);
    }
  }
  return answers;
};

test('whatever is asked in whatever order, what must always be true is true after each step', async () => {
  await fc.assert(
    fc.asyncProperty(commands, async (asked) => void (await keepsInvariants(asked))),
    { numRuns: 40 },
  );
});

test('the commands that are asked meet the rules: a property that never hears a no proves little', async () => {
  const answers = await Promise.all(fc.sample(commands, { numRuns: 40, seed: 1 }).map(keepsInvariants));
  expect([...new Set(answers.flat())].sort()).toEqual(
    expect.arrayContaining([
      'adjust: done',
      'adjust: insufficient_stock',
      'charge: charge_limit_reached',
      'charge: done',
      'charge: idempotency_key_reused',
      'pay: done',
      'pay: insufficient_balance',
      'pay: not_found',
      'pay: order_expired',
      'place: done',
      'place: insufficient_balance',
      'place: insufficient_stock',
      'place: invalid_quantity',
      'place: no_items',
      'place: not_on_sale',
      'placeCart: done',
      'placeCart: no_items',
      'reprice: done',
    ]),
  );
});

test('a burst of commands, decided in any order, keeps what must always be true', async () => {
  await fc.assert(
    fc.asyncProperty(commands, fc.scheduler(), async (asked, scheduler) => {
      let turn: () => Promise<unknown> = async () => null;
      const world = await openSmallShop({
        ports: ({ transact }) => ({ transact: (scope, decide) => turn().then(() => transact(scope, decide)) }),
      });
      // Some in turn, so that there are orders to pay; then all others at once.
      const before = Math.floor(asked.length / 2);
      for (const each of asked.slice(0, before)) await run(world, each);
      turn = () => scheduler.schedule(Promise.resolve());
      await scheduler.waitFor(Promise.all(asked.slice(before).map((each) => run(world, each))));
      expect(violationsOf(await world.books())).toEqual([]);
    }),
    { numRuns: 30 },
  );
});

/** A decision as it came to `transact`. */
interface Sent {
  readonly scope: Scope;
  readonly decide: (books: Books) => unknown;
}
/** Rows as a database holds them, by kind and key, and the answers kept. */
interface Kept {
  readonly records: Loaded['records'];
  readonly facts: { readonly [F in (typeof factKinds)[number]]: unknown[] };
  readonly remembered: Map<string, Remembered>;
  readonly outcomes: unknown[];
}

/** Decides what was sent in batches of these sizes, as an adapter does: load what is named, decide all, write the changes. */
const decideInBatches = (sent: readonly Sent[], sizes: Iterator<number>): Kept => {
  const kept: Kept = {
    records: emptyShelves(),
    facts: { transfers: [], adjustments: [], events: [] },
    remembered: new Map(),
    outcomes: [],
  };
  for (let from = 0, size = 0; from < sent.length; from += size) {
    size = sizes.next().value as number;
    const group = sent.slice(from, from + size);
    const records = emptyShelves();
    for (const kind of kinds) {
      for (const name of group.flatMap(({ scope }) => scope[kind] ?? [])) {
        const known = kept.records[kind].get(name);
        if (known) (records[kind] as Map<string, unknown>).set(name, known);
      }
    }
    const batch = openBatch({ now: 1_800_000_000_000, records, remembered: new Map(kept.remembered) });
    for (const { scope, decide } of group) {
      try {
        kept.outcomes.push({ done: batch.decide(scope, decide) });
      } catch (error) {
        if (!(error instanceof DomainError)) throw error;
        kept.outcomes.push({ refused: error.refusal, decidedFor: error.decidedFor });
      }
    }
    write(kept, batch.changes());
  }
  return kept;
};

const write = (kept: Kept, changes: ReturnType<ReturnType<typeof openBatch>['changes']>): void => {
  for (const kind of kinds) writeKind(kept, changes, kind);
  for (const kind of factKinds) kept.facts[kind].push(...changes.facts[kind]);
  for (const entry of changes.remembered) {
    expect(kept.remembered.has(onceKey(entry.once)), 'a key is kept once').toBe(false);
    kept.remembered.set(onceKey(entry.once), entry);
  }
};

const writeKind = <K extends Kind>(kept: Kept, changes: ReturnType<ReturnType<typeof openBatch>['changes']>, kind: K): void => {
  const shelf = kept.records[kind] as Map<string, unknown>;
  for (const record of changes.records[kind].created) {
    const name = keyOf[kind](record);
    expect(shelf.has(name), `${kind} ${name} is new`).toBe(false);
    shelf.set(name, record);
  }
  for (const { before, after } of changes.records[kind].updated) {
    const name = keyOf[kind](after);
    expect(shelf.get(name), `${kind} ${name} is changed from what is there`).toBe(before);
    shelf.set(name, after);
  }
};

const always = function* (size: number): Generator<number, never> {
  while (true) yield size;
};
const inTurn = function* (sizes: readonly number[]): Generator<number, never> {
  while (true) yield* sizes;
};

test('commands decided together leave the same records, facts and answers as each decided alone in turn', async () => {
  await fc.assert(
    fc.asyncProperty(commands, fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 5 }), async (asked, sizes) => {
      const sent: Sent[] = [];
      let newId = countedIds();
      const world = await openSmallShop({
        ports: ({ transact }) => ({
          newId: () => newId(),
          transact: (scope, decide) => {
            sent.push({ scope, decide });
            return transact(scope, decide);
          },
        }),
      });
      for (const each of asked) await run(world, each);
      const replay = (batches: Iterator<number>): Kept => {
        newId = countedIds();
        return decideInBatches(sent, batches);
      };
      const alone = replay(always(1));
      expect(replay(inTurn(sizes))).toEqual(alone);
      expect(replay(always(sent.length))).toEqual(alone);
    }),
    { numRuns: 60 },
  );
});
