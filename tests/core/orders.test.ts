import { describe, expect, test } from 'vitest';
import { memoryLock } from '../../adapters/memory/lock.ts';
import type { Item } from '../../core/order/order.ts';
import { hours, minutes } from '../../core/shared/time.ts';
import { grantingLock, once, openShop, refusalOf, type ShopOptions } from '../support/shop.ts';

const all = { limit: 100 };
const fromCart = { fromCart: true } as const;

const kimsShop = (options: ShopOptions = {}) => {
  const world = openShop(options);
  const { shop, store } = world;
  const kim = world.customer();
  return {
    ...world,
    kim,
    place: (...items: Item[]) => shop.orders.place({ actor: kim }, { items }),
    quote: (...items: Item[]) => shop.orders.quote({ actor: kim }, { items }),
    put: (sku: string, quantity = 1) => shop.cart.putItem({ actor: kim }, { sku, quantity }),
    stockOf: async (sku: string) => (await store.products.skus([sku]))[0]?.stock,
    reprice: ({ id, sku }: { readonly id: string; readonly sku: string }, price: number) =>
      shop.catalog.change({ actor: world.operator }, { id, variants: [{ sku, price }] }),
    ordersOf: async (actor = kim) => (await shop.orders.page(actor, {}, all)).items,
  };
};

/** Both ask for the same and must refuse the same. */
const asks = ['quote', 'place'] as const;

describe('an order sheet', () => {
  test('says what it would cost now', async () => {
    const { quote, product } = kimsShop();
    const socks = await product({ name: 'socks', price: 1_500 });
    const tee = await product({ name: 'Tee', variants: [{ name: 'M', price: 12_000 }] });
    expect(await quote({ sku: socks.sku, quantity: 2 }, { sku: tee.sku, quantity: 1 })).toEqual({
      lines: [
        { sku: socks.sku, productId: socks.id, name: 'socks', quantity: 2, unitPrice: 1_500, discount: 0, amount: 3_000 },
        { sku: tee.sku, productId: tee.id, name: 'Tee M', quantity: 1, unitPrice: 12_000, discount: 0, amount: 12_000 },
      ],
      goodsTotal: 15_000,
      discountTotal: 0,
      total: 15_000,
    });
  });

  test('reserves nothing and leaves no trace', async () => {
    const { quote, product, store, stockOf, ordersOf } = kimsShop();
    const { sku } = await product({ stock: 2 });
    const before = structuredClone(store.facts);
    await quote({ sku, quantity: 2 });
    expect(await stockOf(sku)).toBe(2);
    expect(await ordersOf()).toEqual([]);
    expect(store.facts).toEqual(before);
  });

  test('is the same for the same key, also after a change of price', async () => {
    const { shop, kim, product, reprice, quote } = kimsShop();
    const socks = await product({ price: 1_000 });
    const items = [{ sku: socks.sku, quantity: 1 }];
    const asked = { actor: kim, once: once(kim) };
    const first = await shop.orders.quote(asked, { items });
    await reprice(socks, 2_000);
    expect(await shop.orders.quote(asked, { items })).toEqual(first);
    expect(await quote(...items)).toMatchObject({ total: 2_000 });
  });

  test('can be of the cart, which stays', async () => {
    const { shop, kim, put, product } = kimsShop();
    await put((await product({ price: 1_000 })).sku, 3);
    expect(await shop.orders.quote({ actor: kim }, fromCart)).toMatchObject({ total: 3_000 });
    expect(await shop.cart.read(kim)).toMatchObject({ total: 3_000 });
  });
});

describe('placing an order', () => {
  test('takes the stock and waits ten minutes for the money', async () => {
    const { place, product, kim, clock, shop, stockOf } = kimsShop();
    const socks = await product({ name: 'socks', price: 1_500, stock: 5 });
    const order = await place({ sku: socks.sku, quantity: 2 });
    expect(order).toEqual({
      id: order.id,
      customerId: kim.subject,
      status: 'pending',
      lines: [{ sku: socks.sku, productId: socks.id, name: 'socks', quantity: 2, unitPrice: 1_500, discount: 0, amount: 3_000 }],
      goodsTotal: 3_000,
      discountTotal: 0,
      total: 3_000,
      refundedTotal: 0,
      couponId: null,
      payment: null,
      createdAt: clock.now,
      expiresAt: clock.now + minutes(10),
    });
    expect(await stockOf(socks.sku)).toBe(3);
    expect(await shop.orders.find(kim, order.id)).toEqual(order);
  });

  test('waits for as long as is configured', async () => {
    const { place, product, clock } = kimsShop({ policy: { orderTtl: minutes(3) } });
    const { sku } = await product();
    expect(await place({ sku, quantity: 1 })).toMatchObject({ expiresAt: clock.now + minutes(3) });
  });

  test('tells others of it', async () => {
    const { place, product, store, kim } = kimsShop();
    const { sku } = await product({ price: 1_500 });
    const { id } = await place({ sku, quantity: 2 });
    const data = { orderId: id, customerId: kim.subject, total: 3_000 };
    expect(store.facts.events.at(-1)).toMatchObject({ type: 'order.placed', subject: id, data });
  });

  test('freezes names and prices', async () => {
    const { shop, place, product, operator, kim } = kimsShop();
    const socks = await product({ name: 'socks', price: 1_500 });
    const order = await place({ sku: socks.sku, quantity: 2 });
    const variants = [{ sku: socks.sku, price: 9_000 }];
    await shop.catalog.change({ actor: operator }, { id: socks.id, name: 'stockings', status: 'hidden', variants });
    expect(await shop.orders.find(kim, order.id)).toEqual(order);
  });

  test('takes all lines or none', async () => {
    const { place, product, stockOf, ordersOf, store } = kimsShop();
    const [plenty, scarce] = [await product({ stock: 9 }), await product({ stock: 1 })];
    const before = structuredClone(store.facts);
    const refusal = await refusalOf(place({ sku: plenty.sku, quantity: 2 }, { sku: scarce.sku, quantity: 2 }));
    expect(refusal).toEqual({ code: 'insufficient_stock', sku: scarce.sku, requested: 2, available: 1 });
    expect([await stockOf(plenty.sku), await stockOf(scarce.sku)]).toEqual([9, 1]);
    expect(await ordersOf()).toEqual([]);
    expect(store.facts).toEqual(before);
  });

  test.each([
    ['a lock', memoryLock()],
    ['a lock that always grants', grantingLock],
  ])('sells the last three pieces to three of twenty who ask at once, with %s', async (_, lock) => {
    const { customer, ordered, product, stockOf, shop, operator } = kimsShop({ lock });
    const socks = await product({ stock: 3 });
    const answers = await Promise.all(Array.from({ length: 20 }, () => refusalOf(ordered(customer(), socks))));
    const refused = answers.filter((answer) => (answer as { code?: string }).code === 'insufficient_stock');
    expect(refused).toHaveLength(17);
    expect(refused[0]).toEqual({ code: 'insufficient_stock', sku: socks.sku, requested: 1, available: 0 });
    expect(await stockOf(socks.sku)).toBe(0);
    expect((await shop.orders.page(operator, {}, all)).items).toHaveLength(3);
  });

  test('is for customers', async () => {
    const { shop, product, anyone, operator, stockOf } = kimsShop();
    const { sku } = await product();
    for (const actor of [anyone, operator]) {
      const asked = shop.orders.place({ actor }, { items: [{ sku, quantity: 1 }] });
      expect(await refusalOf(asked)).toEqual({ code: 'forbidden' });
      expect(await refusalOf(shop.orders.place({ actor }, fromCart))).toEqual({ code: 'forbidden' });
    }
    expect(await stockOf(sku)).toBe(10);
  });
});

describe.each(asks)('%s refuses', (ask) => {
  test('no items', async () => {
    expect(await refusalOf(kimsShop()[ask]())).toEqual({ code: 'no_items' });
  });

  test('a SKU that is not there', async () => {
    const refusal = await refusalOf(kimsShop()[ask]({ sku: 'NOTHING', quantity: 1 }));
    expect(refusal).toEqual({ code: 'not_found', what: 'sku' });
  });

  test('a SKU on two lines', async () => {
    const world = kimsShop();
    const { sku } = await world.product();
    const refusal = await refusalOf(world[ask]({ sku, quantity: 1 }, { sku, quantity: 2 }));
    expect(refusal).toEqual({ code: 'duplicate_sku', sku });
  });

  test('quantities other than 1 to 10', async () => {
    const world = kimsShop();
    const { sku } = await world.product({ stock: 1_000 });
    for (const quantity of [-1, 0, 0.5, 1.5, 11, Number.NaN]) {
      expect(await refusalOf(world[ask]({ sku, quantity })), `${quantity}`).toEqual({ code: 'invalid_quantity', sku, max: 10 });
    }
    for (const quantity of [1, 10]) expect(await world[ask]({ sku, quantity })).toMatchObject({ total: quantity * 1_000 });
  });

  test('a hidden product, also where it hides the lack of stock', async () => {
    const world = kimsShop();
    const { sku } = await world.product({ status: 'hidden', stock: 0 });
    expect(await refusalOf(world[ask]({ sku, quantity: 1 }))).toEqual({ code: 'not_on_sale', sku });
  });

  test('more than there is', async () => {
    const world = kimsShop();
    const { sku } = await world.product({ stock: 2 });
    const refusal = await refusalOf(world[ask]({ sku, quantity: 3 }));
    expect(refusal).toEqual({ code: 'insufficient_stock', sku, requested: 3, available: 2 });
  });

  test('an empty cart', async () => {
    const world = kimsShop();
    expect(await refusalOf(world.shop.orders[ask]({ actor: world.kim }, fromCart))).toEqual({ code: 'no_items' });
  });
});

describe('ordering the cart', () => {
  test('orders what is in it, at the price of now, and empties it', async () => {
    const { shop, kim, put, product, reprice, stockOf } = kimsShop();
    const socks = await product({ price: 1_000, stock: 9 });
    await put(socks.sku, 3);
    await reprice(socks, 1_100);
    const order = await shop.orders.place({ actor: kim }, fromCart);
    expect(order).toMatchObject({ lines: [{ sku: socks.sku, quantity: 3, unitPrice: 1_100 }], total: 3_300 });
    expect(await shop.cart.read(kim)).toEqual({ items: [], total: 0 });
    expect(await stockOf(socks.sku)).toBe(6);
  });

  test('orders it once when it is asked for many times at once', async () => {
    const { shop, kim, put, product, stockOf } = kimsShop({ lock: grantingLock });
    const { sku } = await product({ stock: 9 });
    await put(sku, 2);
    const answers = await Promise.all(Array.from({ length: 10 }, () => refusalOf(shop.orders.place({ actor: kim }, fromCart))));
    expect(answers.filter((answer) => 'done' in (answer as object))).toHaveLength(1);
    expect(await stockOf(sku)).toBe(7);
  });

  test('keeps the cart when it is refused', async () => {
    const { shop, kim, put, product } = kimsShop();
    await put((await product({ stock: 1 })).sku, 2);
    expect(await refusalOf(shop.orders.place({ actor: kim }, fromCart))).toMatchObject({ code: 'insufficient_stock' });
    expect((await shop.cart.read(kim)).items).toHaveLength(1);
  });

  test('of items leaves the cart alone', async () => {
    const { shop, kim, put, place, product } = kimsShop();
    const { sku } = await product();
    await put(sku, 2);
    await place({ sku, quantity: 2 });
    expect((await shop.cart.read(kim)).items).toHaveLength(1);
  });

  test("does not touch anybody else's", async () => {
    const { shop, kim, put, product, customer } = kimsShop();
    const [{ sku }, lee] = [await product(), customer()];
    await put(sku);
    await shop.cart.putItem({ actor: lee }, { sku, quantity: 4 });
    await shop.orders.place({ actor: kim }, fromCart);
    expect((await shop.cart.read(lee)).items).toMatchObject([{ quantity: 4 }]);
  });

  test('is answered again under its key, though the cart is empty by then', async () => {
    const { shop, kim, put, product, stockOf } = kimsShop();
    const { sku } = await product({ stock: 9 });
    await put(sku, 2);
    const asked = { actor: kim, once: once(kim) };
    const order = await shop.orders.place(asked, fromCart);
    expect(await shop.orders.place(asked, fromCart)).toEqual(order);
    await put(sku, 5);
    expect(await shop.orders.place(asked, fromCart)).toEqual(order);
    expect(await stockOf(sku)).toBe(7);
    expect((await shop.cart.read(kim)).items).toHaveLength(1);
  });

  type Meddle = (cart: { put(sku: string, quantity: number): Promise<unknown>; clear(): Promise<void> }) => Promise<unknown>;
  const meddling: readonly (readonly [string, Meddle])[] = [
    ['a quantity changed', (cart) => cart.put('A', 3)],
    ['something came', (cart) => cart.put('C', 1)],
    ['everything went', (cart) => cart.clear()],
    [
      'the same number of other goods',
      (cart) =>
        cart
          .clear()
          .then(() => cart.put('C', 2))
          .then(() => cart.put('B', 1)),
    ],
  ];
  test.each(meddling)('is refused when the cart changed since it was asked for: %s', async (_, meddle) => {
    let afterRead: () => Promise<unknown> = async () => null;
    const world = kimsShop({
      ports: ({ carts }) => ({
        carts: { find: async (id) => Promise.try(() => carts.find(id)).then((cart) => afterRead().then(() => cart)) },
      }),
    });
    const { shop, kim, put, product, stockOf, ordersOf } = world;
    await product({ variants: [{ sku: 'A' }, { sku: 'B' }, { sku: 'C' }] });
    await put('A', 2);
    await put('B', 1);
    let left: unknown;
    afterRead = async () => {
      afterRead = async () => null;
      await meddle({ put, clear: () => shop.cart.clear({ actor: kim }) });
      left = await shop.cart.read(kim);
    };
    expect(await refusalOf(shop.orders.place({ actor: kim }, fromCart))).toEqual({ code: 'cart_changed' });
    expect(await shop.cart.read(kim)).toEqual(left);
    expect([await stockOf('A'), await stockOf('B'), await stockOf('C')]).toEqual([10, 10, 10]);
    expect(await ordersOf()).toEqual([]);
  });
});

describe('placing and paying at once', () => {
  test('takes stock and money in one commit', async () => {
    const { shop, kim, charged, product, stockOf, clock, store } = kimsShop();
    await charged(kim, 5_000);
    const { sku } = await product({ price: 1_500, stock: 3 });
    const order = await shop.orders.place({ actor: kim }, { items: [{ sku, quantity: 2 }], pay: 'balance' });
    const payment = { id: order.payment?.id, orderId: order.id, customerId: kim.subject, method: 'balance', amount: 3_000 };
    expect(order).toMatchObject({ status: 'paid', payment: { ...payment, paidAt: clock.now } });
    expect(await shop.orders.find(kim, order.id)).toEqual(order);
    expect([await stockOf(sku), await shop.balance.read(kim)]).toEqual([1, 2_000]);
    expect(store.facts.events.map(({ type }) => type).slice(-2)).toEqual(['order.placed', 'order.paid']);
  });

  test('takes neither when the money does not reach', async () => {
    const { shop, kim, charged, put, product, stockOf, ordersOf, store } = kimsShop();
    await charged(kim, 1_000);
    const { sku } = await product({ price: 1_500, stock: 3 });
    await put(sku, 2);
    const before = structuredClone(store.facts);
    const asked = shop.orders.place({ actor: kim }, { ...fromCart, pay: 'balance' });
    expect(await refusalOf(asked)).toEqual({ code: 'insufficient_balance', needed: 3_000, available: 1_000 });
    expect([await stockOf(sku), await shop.balance.read(kim), await ordersOf()]).toEqual([3, 1_000, []]);
    expect((await shop.cart.read(kim)).items).toHaveLength(1);
    expect(store.facts).toEqual(before);
  });

  test('takes neither when the stock does not reach', async () => {
    const { shop, kim, charged, product } = kimsShop();
    await charged(kim, 9_000);
    const { sku } = await product({ price: 1_500, stock: 1 });
    const asked = shop.orders.place({ actor: kim }, { items: [{ sku, quantity: 2 }], pay: 'balance' });
    expect(await refusalOf(asked)).toMatchObject({ code: 'insufficient_stock' });
    expect(await shop.balance.read(kim)).toBe(9_000);
  });
});

describe('an idempotency key', () => {
  test('places once and answers with the order as it was then', async () => {
    const { shop, kim, charged, product, stockOf, ordersOf } = kimsShop();
    const { sku } = await product({ stock: 9 });
    const asked = { actor: kim, once: once(kim) };
    const place = () => shop.orders.place(asked, { items: [{ sku, quantity: 2 }] });
    const order = await place();
    await charged(kim, 5_000);
    await shop.payments.pay({ actor: kim }, { orderId: order.id });
    expect(await place()).toEqual(order);
    expect(await stockOf(sku)).toBe(7);
    expect(await ordersOf()).toHaveLength(1);
  });

  test('repeats a refusal though there is stock by then, and another key orders it', async () => {
    const { shop, kim, product, operator, clock, place } = kimsShop();
    const { sku } = await product({ stock: 0 });
    const asked = { actor: kim, once: once(kim) };
    const items = [{ sku, quantity: 1 }];
    const refusal = await refusalOf(shop.orders.place(asked, { items }));
    expect(refusal).toEqual({ code: 'insufficient_stock', sku, requested: 1, available: 0 });
    await shop.catalog.adjustStock({ actor: operator }, { sku, delta: 5, reason: 'delivery' });
    expect(await refusalOf(shop.orders.place(asked, { items }))).toEqual(refusal);
    expect(await place(...items)).toMatchObject({ status: 'pending' });
    clock.advance(hours(24));
    expect(await shop.orders.place(asked, { items })).toMatchObject({ status: 'pending' });
  });
});

describe("somebody else's order", () => {
  test('answers like one that does not exist', async () => {
    const { shop, kim, customer, ordered, product } = kimsShop();
    const order = await ordered(customer(), await product());
    const missing = await refusalOf(shop.orders.find(kim, '00000000-0000-7000-8000-ffffffffffff'));
    expect(missing).toEqual({ code: 'not_found', what: 'order' });
    expect(await refusalOf(shop.orders.find(kim, order.id))).toEqual(missing);
  });

  test('stands in no list but its owner’s and the operator’s', async () => {
    const { kim, customer, ordered, product, operator, ordersOf } = kimsShop();
    const [socks, lee] = [await product(), customer()];
    const [his, hers] = [await ordered(lee, socks), await ordered(kim, socks)];
    expect(await ordersOf(kim)).toEqual([hers]);
    expect(await ordersOf(lee)).toEqual([his]);
    expect(await ordersOf(operator)).toEqual([hers, his]);
  });

  test('is open to the operator, and to no stranger', async () => {
    const { shop, kim, ordered, product, operator, anyone } = kimsShop();
    const order = await ordered(kim, await product());
    expect(await shop.orders.find(operator, order.id)).toEqual(order);
    expect(await refusalOf(shop.orders.find(anyone, order.id))).toEqual({ code: 'forbidden' });
    expect(() => shop.orders.page(anyone, {}, all)).toThrow('forbidden');
  });
});

test('orders are listed by status, newest first', async () => {
  const { shop, kim, charged, ordered, product } = kimsShop();
  const socks = await product();
  const [first, second, third] = [await ordered(kim, socks), await ordered(kim, socks), await ordered(kim, socks)];
  await charged(kim, 1_000);
  await shop.payments.pay({ actor: kim }, { orderId: second.id });
  const ids = async (status?: 'pending' | 'paid' | 'cancelled') =>
    (await shop.orders.page(kim, { status }, all)).items.map(({ id }) => id);
  expect(await ids()).toEqual([third.id, second.id, first.id]);
  expect(await ids('pending')).toEqual([third.id, first.id]);
  expect(await ids('paid')).toEqual([second.id]);
  expect(await ids('cancelled')).toEqual([]);
});
