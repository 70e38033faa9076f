import { describe, expect, test } from 'vitest';
import { memoryClaimQueue } from '../../adapters/memory/claim-queue.ts';
import { claimId, newUuid } from '../../adapters/system/system.ts';
import type { Policy, Ports } from '../../core/ports.ts';
import type { Actor, Caller } from '../../core/shared/actor.ts';
import { won } from '../../core/shared/money.ts';
import type { Refusal } from '../../core/shared/refusal.ts';
import { hours, minutes } from '../../core/shared/time.ts';
import { createShop, type Shop } from '../../core/shop.ts';
import { violationsOf } from '../support/invariants.ts';
import { atOnce, type MakeStoreWorld, newOnce, refusalOf, type StoreWorld } from './world.ts';

const operator: Caller = { actor: { subject: 'operator', role: 'operator' } };

const policy: Policy = {
  charge: { min: won(1_000), max: won(1_000_000), step: won(1_000), perDay: 3, perMonth: 10 },
  discountCap: 50,
  orderTtl: minutes(10),
  sessionTtl: hours(24),
};

/** A shop on one handle. Its lock always grants: nothing here may depend on it. */
export const shopOn = ({ reads, claimLog }: StoreWorld, transact: StoreWorld['transact'], orderTtl = policy.orderTtl): Shop => {
  const ports: Ports = {
    ...reads,
    claimLog,
    claimId,
    // Everybody passes: the books alone decide.
    gate: { admit: async () => ({ sequence: null }), settle: () => {} },
    claimQueue: memoryClaimQueue(),
    transact,
    lock: (_, work) => work(1),
    passwords: {
      hash: async (password) => `hash of ${password}`,
      verify: async (password, hash) => hash === `hash of ${password}`,
    },
    now: () => Date.now(),
    newId: newUuid,
    // One day, so that no race runs over midnight.
    shopDay: () => '2026-01-31',
    policy: { ...policy, orderTtl },
  };
  return createShop(ports);
};

interface Races {
  readonly world: StoreWorld;
  readonly shops: readonly [Shop, Shop];
  /** A customer with so much money (in thousands of won, at most 3,000). */
  customer(thousands: number): Promise<Caller>;
  product(price: number, stock: number): Promise<string>;
}

const openRaces = async (make: MakeStoreWorld): Promise<Races> => {
  const world = await make();
  const shops = [shopOn(world, world.transact), shopOn(world, world.other)] as const;
  const [shop] = shops;
  // Every connection that the race will use is open before it starts.
  await atOnce(shops, 20, (each) => each.orders.find({ subject: 'nobody', role: 'operator' }, newUuid()).catch(() => {}));
  return {
    world,
    shops,
    async customer(thousands) {
      const actor: Actor = { subject: newUuid(), role: 'customer' };
      for (let left = thousands; left > 0; left -= 1_000)
        await shop.balance.charge({ actor }, { amount: Math.min(left, 1_000) * 1_000 });
      return { actor };
    },
    async product(price, stock) {
      const sku = newUuid();
      const variants = [{ sku, name: 'socks', price, stock }];
      await shop.catalog.create(operator, { name: 'socks', category: 'clothes', status: 'on_sale', variants });
      return sku;
    },
  };
};

/** How often each outcome came: `done`, or the code of a refusal. Anything else is shown as it is. */
const tally = (outcomes: readonly unknown[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const outcome of outcomes) {
    const { done, code } = outcome as { done?: unknown; code?: string };
    const key = done !== undefined ? 'done' : outcome instanceof Error ? String(outcome) : String(code);
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
};

const doneOf = <T>(outcomes: readonly unknown[]): T[] => outcomes.flatMap((outcome) => (outcome as { done?: T }).done ?? []);

type Race = (races: Races) => Promise<void>;

export const shopRaces: { readonly [guarantee: string]: Race } = {
  async '20 payments of one order: it is paid once'({ world, shops, customer, product }) {
    const caller = await customer(100);
    const sku = await product(30_000, 5);
    const order = await shops[0].orders.place(caller, { items: [{ sku, quantity: 2 }] });
    const payments = await atOnce(shops, 20, (shop) => shop.payments.pay(caller, { orderId: order.id }));
    expect(new Set(payments.map(({ id }) => id)).size).toBe(1);
    expect(await shops[1].balance.read(caller.actor)).toBe(40_000);
    const { transfers, orders, events } = await world.everything();
    expect(transfers.filter(({ kind }) => kind === 'payment')).toHaveLength(1);
    expect(events.filter(({ type }) => type === 'order.paid')).toHaveLength(1);
    expect(orders).toMatchObject([{ status: 'paid', payment: { amount: 60_000 } }]);
  },

  async 'two orders and money for one: one is paid, the other stays payable'({ shops, customer, product }) {
    const caller = await customer(100);
    const sku = await product(60_000, 5);
    const place = () => shops[0].orders.place(caller, { items: [{ sku, quantity: 1 }] });
    const orders = [await place(), await place()];
    const outcomes = await atOnce(shops, 20, (shop, i) =>
      refusalOf(shop.payments.pay(caller, { orderId: orders[Math.floor(i / 2) % 2]?.id as string })),
    );
    expect(tally(outcomes)).toEqual({ done: 10, insufficient_balance: 10 });
    const { items } = await shops[0].orders.page(caller.actor, {}, { limit: 10 });
    expect(items.map(({ status }) => status).toSorted()).toEqual(['paid', 'pending']);
  },

  async '50 buyers of the last 10: 10 get one, 40 are told that there is none'({ world, shops, product }) {
    const sku = await product(1_000, 10);
    const outcomes = await atOnce(shops, 50, (shop) =>
      refusalOf(shop.orders.place({ actor: { subject: newUuid(), role: 'customer' } }, { items: [{ sku, quantity: 1 }] })),
    );
    expect(tally(outcomes)).toEqual({ done: 10, insufficient_stock: 40 });
    const refusals = outcomes.filter((outcome) => (outcome as Refusal).code);
    expect(new Set(refusals.map((refusal) => JSON.stringify(refusal)))).toEqual(
      new Set([JSON.stringify({ code: 'insufficient_stock', sku, requested: 1, available: 0 })]),
    );
    const { skus, orders, events } = await world.everything();
    expect([skus[0]?.stock, orders.length]).toEqual([0, 10]);
    expect(events.filter(({ type }) => type === 'order.placed')).toHaveLength(10);
  },

  async '50 who buy and pay the last 10 at once: who has no money takes no stock'({ world, shops, customer, product }) {
    const sku = await product(10_000, 10);
    const callers = await Promise.all(Array.from({ length: 50 }, (_, i) => customer(i % 5 ? 10 : 1)));
    const outcomes = await atOnce(shops, 50, (shop, i) =>
      refusalOf(shop.orders.place(callers[i] as Caller, { items: [{ sku, quantity: 1 }], pay: 'balance' })),
    );
    const counts = tally(outcomes);
    expect(counts.done).toBe(10);
    expect((counts.insufficient_stock ?? 0) + (counts.insufficient_balance ?? 0)).toBe(40);
    const { skus, orders, transfers } = await world.everything();
    expect(skus[0]?.stock).toBe(0);
    expect(orders.every(({ status }) => status === 'paid')).toBe(true);
    expect(transfers.filter(({ kind }) => kind === 'payment')).toHaveLength(10);
  },

  async 'crossing orders of two products: all are placed, none waits for ever'({ world, shops, product }) {
    const [a, b] = [await product(1_000, 100), await product(2_000, 140)];
    const lines = [
      { sku: a, quantity: 1 },
      { sku: b, quantity: 2 },
    ];
    const orders = await atOnce(shops, 60, (shop, i) =>
      shop.orders.place(
        { actor: { subject: newUuid(), role: 'customer' } },
        { items: (i >> 1) % 2 ? lines : lines.toReversed() },
      ),
    );
    expect(orders.every(({ total }) => total === 5_000)).toBe(true);
    const { skus } = await world.everything();
    expect(new Map(skus.map(({ sku, stock }) => [sku, stock]))).toEqual(
      new Map([
        [a, 40],
        [b, 20],
      ]),
    );
  },

  async '20 registrations of one address: one customer'({ world, shops }) {
    const email = `${newUuid()}@example.com`;
    const outcomes = await atOnce(shops, 20, (shop, i) =>
      refusalOf(
        shop.customers.register(
          { actor: { subject: 'x', role: 'anyone' } },
          { email: i % 3 ? email : email.toUpperCase(), password: 'correct horse', name: `${i}` },
        ),
      ),
    );
    expect(tally(outcomes)).toEqual({ done: 1, email_taken: 19 });
    const [customer] = doneOf<{ id: string }>(outcomes);
    expect((await world.reads.customers.login(email))?.customerId).toBe(customer?.id);
    expect((await world.everything()).events).toHaveLength(1);
    expect(await shops[1].customers.me({ subject: customer?.id as string, role: 'customer' })).toEqual(customer);
  },

  async '20 products with one SKU code: one is made, and none without its SKU'({ world, shops }) {
    const sku = newUuid();
    const outcomes = await atOnce(shops, 20, (shop) =>
      refusalOf(
        shop.catalog.create(operator, {
          name: 'socks',
          category: 'clothes',
          status: 'on_sale',
          variants: [{ sku, name: 'socks', price: 1_000, stock: 5 }],
        }),
      ),
    );
    expect(tally(outcomes)).toEqual({ done: 1, sku_taken: 19 });
    const { items } = await shops[0].catalog.page(operator.actor, { sort: 'newest' }, { limit: 100 });
    expect(items).toEqual(doneOf(outcomes));
    expect((await world.everything()).adjustments).toHaveLength(1);
  },

  async '3 charges a day: of 20 at once 3 are made, also on an account that nobody has yet'({ world, shops }) {
    const actor: Actor = { subject: newUuid(), role: 'customer' };
    const outcomes = await atOnce(shops, 20, (shop) => refusalOf(shop.balance.charge({ actor }, { amount: 10_000 })));
    expect(tally(outcomes)).toEqual({ done: 3, charge_limit_reached: 17 });
    expect(
      doneOf<{ balance: number }>(outcomes)
        .map(({ balance }) => balance)
        .toSorted((a, b) => a - b),
    ).toEqual([10_000, 20_000, 30_000]);
    expect((await world.everything()).accounts).toMatchObject([{ balance: 30_000, charged: { inDay: 3, inMonth: 3 } }]);
  },

  async 'one idempotency key 20 times at once: one charge, one answer'({ world, shops }) {
    const actor: Actor = { subject: newUuid(), role: 'customer' };
    const once = newOnce({ subject: actor.subject });
    const charges = await atOnce(shops, 20, (shop) => shop.balance.charge({ actor, once }, { amount: 5_000 }));
    expect(new Set(charges.map((charge) => JSON.stringify(charge))).size).toBe(1);
    const { transfers, events } = await world.everything();
    expect([transfers.length, events.length]).toEqual([1, 1]);
  },

  async 'one idempotency key 20 times at once: one order, paid once, one answer'({ world, shops, customer, product }) {
    const caller = await customer(1_000);
    const sku = await product(10_000, 50);
    const once = newOnce({ subject: caller.actor.subject });
    const orders = await atOnce(shops, 20, (shop) =>
      shop.orders.place({ ...caller, once }, { items: [{ sku, quantity: 3 }], pay: 'balance' }),
    );
    expect(new Set(orders.map((order) => JSON.stringify(order))).size).toBe(1);
    const { skus, accounts } = await world.everything();
    expect([skus[0]?.stock, accounts[0]?.balance]).toEqual([47, 970_000]);
  },

  async 'the cart serves one order, however many are made from it at once'({ world, shops, product }) {
    const caller: Caller = { actor: { subject: newUuid(), role: 'customer' } };
    const sku = await product(1_000, 50);
    await shops[0].cart.putItem(caller, { sku, quantity: 4 });
    const outcomes = await atOnce(shops, 20, (shop) => refusalOf(shop.orders.place(caller, { fromCart: true })));
    const counts = tally(outcomes);
    expect(counts.done).toBe(1);
    // Who read the emptied cart has nothing to order.
    expect((counts.cart_changed ?? 0) + (counts.no_items ?? 0)).toBe(19);
    expect((await world.everything()).skus[0]?.stock).toBe(46);
  },

  async 'one session refreshed 20 times at once: one is prolonged, the reuse ends it'({ shops }) {
    const anyone: Caller = { actor: { subject: 'x', role: 'anyone' } };
    const login = { email: `${newUuid()}@example.com`, password: 'correct horse' };
    await shops[0].customers.register(anyone, { ...login, name: 'x' });
    const session = await shops[0].customers.openSession(anyone, login);
    const outcomes = await atOnce(shops, 20, (shop) =>
      refusalOf(shop.customers.refreshSession(anyone, { sessionId: session.id, generation: 1 })),
    );
    expect(tally(outcomes)).toEqual({ done: 1, session_ended: 19 });
    const next = shops[1].customers.refreshSession(anyone, { sessionId: session.id, generation: 2 });
    expect(await refusalOf(next)).toEqual({ code: 'session_ended' });
  },

  async 'everything at once: restocking, buying, paying, charging, changing the price'({ world, shops, product }) {
    const skus = await Promise.all([1, 2, 3].map((i) => product(i * 1_000, 20)));
    const products = (await shops[0].catalog.page(operator.actor, { sort: 'newest' }, { limit: 10 })).items;
    const buyers: Actor[] = Array.from({ length: 10 }, () => ({ subject: newUuid(), role: 'customer' }));
    const outcomes = await atOnce(shops, 300, (shop, i) => {
      const actor = buyers[i % 10] as Actor;
      const [a, b] = [skus[i % 3] as string, skus[(i + 1) % 3] as string];
      const work: (() => Promise<unknown>)[] = [
        () => shop.balance.charge({ actor }, { amount: 10_000 }),
        () => shop.orders.place({ actor }, { items: [{ sku: a, quantity: 2 }], pay: 'balance' }),
        () => shop.catalog.adjustStock(operator, { sku: a, delta: i % 4 ? 3 : -5, reason: 'counted' }),
        async () => {
          const items = [b, a].map((sku) => ({ sku, quantity: 1 }));
          const { id: orderId } = await shop.orders.place({ actor }, { items });
          return shop.payments.pay({ actor }, { orderId });
        },
        () =>
          shop.catalog.change(operator, {
            id: products[i % 3]?.id as string,
            variants: [{ sku: products[i % 3]?.variants[0]?.sku as string, price: 1_000 + i }],
          }),
      ];
      return refusalOf((work[(i >> 1) % 5] as () => Promise<unknown>)());
    });
    expect(outcomes.filter((outcome) => outcome instanceof Error)).toEqual([]);
    expect((await world.everything()).orders.length).toBeGreaterThan(0);
  },
};

/** The whole shop under races, on an adapter of all stores; after each race the books must be right. */
export const shopRacesContract = (name: string, make: MakeStoreWorld): void => {
  describe(`${name}: the shop under races, with a lock that always grants`, () => {
    test.each(Object.entries(shopRaces))('%s', async (_, race) => {
      const races = await openRaces(make);
      try {
        await race(races);
        expect(violationsOf(await races.world.everything())).toEqual([]);
      } finally {
        await races.world.close();
      }
    });
  });
};
