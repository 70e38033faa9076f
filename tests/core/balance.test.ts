import { describe, expect, test } from 'vitest';
import type { Actor } from '../../core/shared/actor.ts';
import { won } from '../../core/shared/money.ts';
import { hours } from '../../core/shared/time.ts';
import { once, openShop, refusalOf, type ShopOptions } from '../support/shop.ts';

const all = { limit: 100 };
const DAY = hours(24);

const kimsShop = (options: ShopOptions = {}) => {
  const world = openShop(options);
  const kim = world.customer();
  const charge = (amount: number, actor: Actor = kim) => world.shop.balance.charge({ actor }, { amount });
  const refusal = (amount: number, actor: Actor = kim) => refusalOf(charge(amount, actor));
  return { ...world, kim, charge, refusal, balance: () => world.shop.balance.read(kim) };
};

describe('charging the balance', () => {
  test('adds the amount and says what is there now', async () => {
    const { charge, balance, clock } = kimsShop();
    const first = await charge(5_000);
    expect(first).toEqual({ id: first.id, amount: 5_000, balance: 5_000, createdAt: clock.now });
    expect(await charge(2_000)).toMatchObject({ amount: 2_000, balance: 7_000 });
    expect(await balance()).toBe(7_000);
  });

  test('is a transfer from cash-in to the customer, and an event', async () => {
    const { kim, charge, store, clock } = kimsShop();
    const { id } = await charge(5_000);
    expect(store.facts.transfers).toEqual([
      {
        id,
        kind: 'charge',
        from: 'cash_in',
        to: `customer:${kim.subject}`,
        amount: 5_000,
        balance: 5_000,
        orderId: null,
        createdAt: clock.now,
      },
    ]);
    expect(store.facts.events).toMatchObject([
      { type: 'balance.charged', subject: kim.subject, data: { customerId: kim.subject, chargeId: id, amount: 5_000 } },
    ]);
  });

  test.each([1_000, 2_000, 999_000, 1_000_000])('allows %i won', async (amount) => {
    const { charge } = kimsShop();
    expect(await charge(amount)).toMatchObject({ balance: amount });
  });

  test.each([-1_000, 0, 1, 999, 1_001, 1_500, 1_000_001, 1_001_000])('refuses %i won', async (amount) => {
    const { refusal, balance, store } = kimsShop();
    expect(await refusal(amount)).toEqual({ code: 'invalid_charge_amount', min: 1_000, max: 1_000_000, step: 1_000 });
    expect(await balance()).toBe(0);
    expect(store.facts).toEqual({ transfers: [], adjustments: [], events: [] });
  });

  test.each([1_000.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])(
    'takes no amount that is not whole won: %d',
    async (amount) => {
      const { charge, balance } = kimsShop();
      await expect(charge(amount)).rejects.toThrow(RangeError);
      expect(await balance()).toBe(0);
    },
  );

  test('follows the policy that is configured', async () => {
    const charge = { min: won(500), max: won(2_000), step: won(250), perDay: 1, perMonth: 2 };
    const { refusal, charge: ask, clock } = kimsShop({ policy: { charge } });
    expect(await refusal(2_250)).toEqual({ code: 'invalid_charge_amount', min: 500, max: 2_000, step: 250 });
    expect(await ask(750)).toMatchObject({ balance: 750 });
    expect(await refusal(750)).toEqual({ code: 'charge_limit_reached', per: 'day', limit: 1 });
    clock.advance(DAY);
    await ask(750);
    clock.advance(DAY);
    expect(await refusal(750)).toEqual({ code: 'charge_limit_reached', per: 'month', limit: 2 });
  });

  test('is for customers', async () => {
    const { shop, refusal, anyone, operator } = kimsShop();
    for (const actor of [anyone, operator]) {
      expect(await refusal(1_000, actor)).toEqual({ code: 'forbidden' });
      expect(await refusalOf(shop.balance.read(actor))).toEqual({ code: 'forbidden' });
    }
  });
});

describe('charges a day', () => {
  test('are three for each customer', async () => {
    const { charge, refusal, balance, customer } = kimsShop();
    for (let i = 0; i < 3; i++) await charge(1_000);
    expect(await refusal(1_000)).toEqual({ code: 'charge_limit_reached', per: 'day', limit: 3 });
    expect(await balance()).toBe(3_000);
    expect(await charge(1_000, customer())).toMatchObject({ balance: 1_000 });
  });

  test('are three of twenty asked for at once', async () => {
    const { refusal, balance, store } = kimsShop();
    const answers = await Promise.all(Array.from({ length: 20 }, () => refusal(1_000)));
    expect(answers.filter((answer) => (answer as { code?: string }).code === 'charge_limit_reached')).toHaveLength(17);
    expect(await balance()).toBe(3_000);
    expect(store.facts.transfers).toHaveLength(3);
  });

  test('do not count what was refused', async () => {
    const { charge, refusal } = kimsShop();
    for (let i = 0; i < 5; i++) await refusal(1);
    for (let i = 0; i < 3; i++) await charge(1_000);
    expect(await refusal(1_000)).toMatchObject({ per: 'day' });
  });

  test("start again at the shop's midnight, not at UTC's", async () => {
    const { charge, refusal, clock } = kimsShop({ at: Date.parse('2026-03-10T00:00:00+09:00') });
    for (let i = 0; i < 3; i++) await charge(1_000);
    clock.now = Date.parse('2026-03-10T09:00:00+09:00'); // a new day in UTC
    expect(await refusal(1_000)).toMatchObject({ per: 'day' });
    clock.now = Date.parse('2026-03-10T23:59:59.999+09:00');
    expect(await refusal(1_000)).toMatchObject({ per: 'day' });
    clock.advance(1);
    for (let i = 0; i < 3; i++) await charge(1_000);
    expect(await refusal(1_000)).toMatchObject({ per: 'day' });
  });
});

describe('charges a month', () => {
  /** Ten charges on the first days of the month. */
  const tenCharged = async (month: string) => {
    const world = kimsShop({ at: Date.parse(`${month}-01T12:00:00+09:00`) });
    for (let i = 0; i < 10; i++) {
      if (i > 0 && i % 3 === 0) world.clock.advance(DAY);
      await world.charge(1_000);
    }
    return world;
  };

  test('are ten, and the day limit still holds among them', async () => {
    const { refusal, clock, balance } = await tenCharged('2026-03');
    expect(await refusal(1_000)).toEqual({ code: 'charge_limit_reached', per: 'month', limit: 10 });
    clock.advance(DAY);
    expect(await refusal(1_000)).toEqual({ code: 'charge_limit_reached', per: 'month', limit: 10 });
    expect(await balance()).toBe(10_000);
  });

  test.each([
    ['2026-01', '2026-02-01'],
    ['2026-02', '2026-03-01'],
    ['2028-02', '2028-03-01'],
    ['2026-04', '2026-05-01'],
    ['2026-12', '2027-01-01'],
  ])('of %s end when %s begins in Seoul', async (month, next) => {
    const { charge, refusal, clock } = await tenCharged(month);
    clock.now = Date.parse(`${next}T00:00:00+09:00`) - 1;
    expect(await refusal(1_000)).toMatchObject({ per: 'month' });
    clock.advance(1);
    for (let i = 0; i < 3; i++) await charge(1_000);
    expect(await refusal(1_000)).toMatchObject({ per: 'day' });
  });

  test('are not those of the same month a year before', async () => {
    const { charge, clock } = await tenCharged('2026-03');
    clock.now = Date.parse('2027-03-04T12:00:00+09:00');
    expect(await charge(1_000)).toMatchObject({ balance: 11_000 });
  });
});

describe('the ledger', () => {
  test('shows every movement, newest first, with its sign and the balance after it', async () => {
    const { shop, kim, charge, product, ordered, clock } = kimsShop();
    const charged = await charge(5_000);
    clock.advance(1_000);
    const order = await ordered(kim, await product({ price: 1_500 }), 2);
    const payment = await shop.payments.pay({ actor: kim }, { orderId: order.id });
    const { items } = await shop.balance.entries(kim, all);
    expect(items).toEqual([
      { id: expect.any(String), kind: 'payment', amount: -3_000, balance: 2_000, orderId: order.id, createdAt: payment.paidAt },
      { id: charged.id, kind: 'charge', amount: 5_000, balance: 5_000, orderId: null, createdAt: charged.createdAt },
    ]);
  });

  test("shows nobody else's", async () => {
    const { shop, charge, customer, anyone, operator } = kimsShop();
    await charge(5_000);
    expect(await shop.balance.entries(customer(), all)).toEqual({ items: [], nextCursor: null });
    expect(await shop.balance.read(customer())).toBe(0);
    for (const actor of [anyone, operator]) expect(() => shop.balance.entries(actor, all)).toThrow('forbidden');
  });
});

describe('an idempotency key', () => {
  const keyed = () => {
    const world = kimsShop();
    const key = once(world.kim, { requestId: 'the first' });
    const ask = (amount: number, changes: Partial<typeof key> = {}, actor = world.kim) =>
      world.shop.balance.charge({ actor, once: { ...key, ...changes } }, { amount });
    return { ...world, ask };
  };

  test('charges once however often it is sent, and answers the same', async () => {
    const { ask, balance, store, clock } = keyed();
    const first = await ask(5_000);
    clock.advance(hours(1));
    expect(await ask(5_000, { requestId: 'the second' })).toEqual(first);
    expect(await balance()).toBe(5_000);
    expect(store.facts.transfers).toHaveLength(1);
    expect(store.facts.events).toHaveLength(1);
  });

  test('charges once when it is sent many times at once', async () => {
    const { ask, balance } = keyed();
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(5_000)));
    expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
    expect(await balance()).toBe(5_000);
  });

  test('repeats a refusal with the request that it was decided for, also when the rule would now say yes', async () => {
    const { ask, charge, clock, balance } = keyed();
    for (let i = 0; i < 3; i++) await charge(1_000);
    const refusal = { code: 'charge_limit_reached', per: 'day', limit: 3 };
    await expect(ask(1_000)).rejects.toMatchObject({ refusal, decidedFor: undefined });
    clock.advance(hours(23));
    await expect(ask(1_000, { requestId: 'the second' })).rejects.toMatchObject({ refusal, decidedFor: 'the first' });
    expect(await balance()).toBe(3_000);
  });

  test('is refused for another request, and keeps its answer for the first', async () => {
    const { ask, balance } = keyed();
    const first = await ask(5_000);
    expect(await refusalOf(ask(6_000, { fingerprint: 'another' }))).toEqual({ code: 'idempotency_key_reused' });
    expect(await ask(5_000)).toEqual(first);
    expect(await balance()).toBe(5_000);
  });

  test('is free again after 24 hours', async () => {
    const { ask, balance, clock } = keyed();
    const first = await ask(5_000);
    clock.advance(hours(24) - 1);
    expect(await ask(5_000)).toEqual(first);
    clock.advance(1);
    expect(await ask(6_000, { fingerprint: 'another' })).toMatchObject({ balance: 11_000 });
    expect(await balance()).toBe(11_000);
  });

  test('is free again after 24 hours when it kept a refusal', async () => {
    const { ask, clock } = keyed();
    await refusalOf(ask(1));
    clock.advance(hours(24));
    expect(await ask(1_000)).toMatchObject({ balance: 1_000 });
  });

  test('of one customer is not that of another', async () => {
    const { ask, balance, shop, customer } = keyed();
    const lee = customer();
    await ask(5_000);
    expect(await ask(5_000, { subject: lee.subject }, lee)).toMatchObject({ balance: 5_000 });
    expect([await balance(), await shop.balance.read(lee)]).toEqual([5_000, 5_000]);
  });

  test('of one operation is not that of another', async () => {
    const { ask, balance } = keyed();
    await ask(5_000);
    await ask(5_000, { operation: 'POST /v1/other-things' });
    expect(await balance()).toBe(10_000);
  });

  test('is not used up by a fault', async () => {
    const { ask } = keyed();
    await expect(ask(0.5)).rejects.toThrow(RangeError);
    expect(await ask(1_000)).toMatchObject({ balance: 1_000 });
  });
});
