import { describe, expect, test } from 'vitest';
import { memoryLock } from '../../adapters/memory/lock.ts';
import { type Order, orderStatuses, paid } from '../../core/order/order.ts';
import type { Payment } from '../../core/payment/payment.ts';
import { hours, minutes } from '../../core/shared/time.ts';
import { grantingLock, once, openShop, refusalOf, type ShopOptions } from '../support/shop.ts';

const nowhere = '00000000-0000-7000-8000-ffffffffffff';

/** Kim owes 3,000 won and has `money`. */
const kimsOrder = async (money: number, options: ShopOptions = {}) => {
  const world = openShop(options);
  const { shop, customer, charged, ordered, product } = world;
  const kim = customer();
  if (money > 0) await charged(kim, money);
  const socks = await product({ price: 1_500, stock: 5 });
  const order = await ordered(kim, socks, 2);
  const pay = (actor = kim, orderId = order.id) => shop.payments.pay({ actor }, { orderId });
  return { ...world, kim, socks, order, pay, balance: () => shop.balance.read(kim) };
};

describe('paying an order', () => {
  test('takes the total from the balance', async () => {
    const { shop, kim, order, pay, balance, clock } = await kimsOrder(5_000);
    clock.advance(minutes(1));
    const payment = await pay();
    expect(payment).toEqual({
      id: payment.id,
      orderId: order.id,
      customerId: kim.subject,
      method: 'balance',
      amount: 3_000,
      paidAt: clock.now,
    });
    expect(await balance()).toBe(2_000);
    expect(await shop.orders.find(kim, order.id)).toEqual({ ...order, status: 'paid', payment });
  });

  test('may take the last won', async () => {
    const { pay, balance } = await kimsOrder(3_000);
    await pay();
    expect(await balance()).toBe(0);
  });

  test('is a transfer to revenue', async () => {
    const { kim, order, pay, store, clock } = await kimsOrder(5_000);
    await pay();
    expect(store.facts.transfers.at(-1)).toEqual({
      id: expect.any(String),
      kind: 'payment',
      from: `customer:${kim.subject}`,
      to: 'revenue',
      amount: 3_000,
      balance: 2_000,
      orderId: order.id,
      createdAt: clock.now,
    });
  });

  test('tells others what was sold', async () => {
    const { kim, socks, order, pay, store, clock } = await kimsOrder(5_000);
    const { id } = await pay();
    const lines = [{ sku: socks.sku, productId: socks.id, quantity: 2, revenue: 3_000 }];
    expect(store.facts.events.at(-1)).toMatchObject({
      type: 'order.paid',
      subject: order.id,
      data: { orderId: order.id, customerId: kim.subject, paymentId: id, amount: 3_000, lines },
      occurredAt: clock.now,
    });
  });

  test('takes nothing more from the stock', async () => {
    const { pay, store, socks } = await kimsOrder(5_000);
    await pay();
    expect(await store.products.skus([socks.sku])).toMatchObject([{ stock: 3 }]);
  });
});

describe('an order is paid once', () => {
  test('however often it is asked, also after its time', async () => {
    const { pay, balance, store, clock } = await kimsOrder(9_000);
    const payment = await pay();
    expect(await pay()).toEqual(payment);
    clock.advance(hours(48));
    expect(await pay()).toEqual(payment);
    expect(await balance()).toBe(6_000);
    expect(store.facts.transfers.filter(({ kind }) => kind === 'payment')).toHaveLength(1);
    expect(store.facts.events.filter(({ type }) => type === 'order.paid')).toHaveLength(1);
  });

  test.each([
    ['a lock', memoryLock()],
    ['a lock that always grants', grantingLock],
  ])('when it is asked twenty times at once, with %s', async (_, lock) => {
    const { pay, balance, store } = await kimsOrder(90_000, { lock });
    const payments = await Promise.all(Array.from({ length: 20 }, () => pay()));
    expect(new Set(payments.map(({ id }) => id)).size).toBe(1);
    expect(await balance()).toBe(87_000);
    expect(store.facts.transfers.filter(({ kind }) => kind === 'payment')).toHaveLength(1);
  });

  test('when it was placed with its payment', async () => {
    const { shop, kim, socks, pay, balance } = await kimsOrder(9_000);
    const items = [{ sku: socks.sku, quantity: 2 }];
    const order = await shop.orders.place({ actor: kim }, { items, pay: 'balance' });
    expect(await pay(kim, order.id)).toEqual(order.payment);
    expect(await balance()).toBe(6_000);
  });

  test('and a balance that reaches for one of two orders pays one', async () => {
    const { kim, socks, order, ordered, pay, balance } = await kimsOrder(4_000, { lock: grantingLock });
    const other = await ordered(kim, socks, 2);
    const answers = await Promise.all([refusalOf(pay(kim, order.id)), refusalOf(pay(kim, other.id))]);
    expect(answers).toEqual([{ done: expect.anything() }, { code: 'insufficient_balance', needed: 3_000, available: 1_000 }]);
    expect(await balance()).toBe(1_000);
  });
});

describe('a balance that does not reach', () => {
  test.each([
    [0, 0],
    [2_000, 2_000],
  ])('of %i won leaves the order pending, and payable later', async (money, available) => {
    const { shop, kim, order, pay, charged, balance } = await kimsOrder(money);
    expect(await refusalOf(pay())).toEqual({ code: 'insufficient_balance', needed: 3_000, available });
    expect(await shop.orders.find(kim, order.id)).toEqual(order);
    expect(await balance()).toBe(money);
    await charged(kim, 5_000);
    expect(await pay()).toMatchObject({ amount: 3_000 });
    expect(await balance()).toBe(money + 2_000);
  });

  test('stays the answer under its key; another key pays', async () => {
    const { shop, kim, order, charged, balance } = await kimsOrder(0);
    const [first, second] = [once(kim), once(kim)];
    const pay = (key: typeof first) => shop.payments.pay({ actor: kim, once: key }, { orderId: order.id });
    const refusal = await refusalOf(pay(first));
    await charged(kim, 5_000);
    expect(await refusalOf(pay(first))).toEqual(refusal);
    expect(await balance()).toBe(5_000);
    const payment = await pay(second);
    expect(await pay(second)).toEqual(payment);
    expect(await balance()).toBe(2_000);
  });
});

describe('an order that cannot be paid', () => {
  test('is one whose time is over: payable until the last millisecond', async () => {
    const early = await kimsOrder(5_000);
    early.clock.now = early.order.expiresAt - 1;
    expect(await early.pay()).toMatchObject({ amount: 3_000 });

    const { clock, order, pay, balance, shop, kim } = await kimsOrder(5_000);
    clock.now = order.expiresAt;
    expect(await refusalOf(pay())).toEqual({ code: 'order_expired' });
    expect(await balance()).toBe(5_000);
    expect(await shop.orders.find(kim, order.id)).toEqual(order);
  });

  test.each(orderStatuses.filter((status) => status !== 'pending'))('is one that is %s', async (status) => {
    const { order } = await kimsOrder(0);
    const payment = { paidAt: order.createdAt } as Payment;
    const pay = async (): Promise<Order> => paid({ ...order, status }, payment);
    expect(await refusalOf(pay())).toEqual({ code: 'order_not_payable', status });
  });

  test("is somebody else's, which answers like one that does not exist", async () => {
    const { pay, customer, charged, shop, kim, order } = await kimsOrder(5_000);
    const lee = await charged(customer(), 5_000);
    const missing = await refusalOf(pay(lee, nowhere));
    expect(missing).toEqual({ code: 'not_found', what: 'order' });
    expect(await refusalOf(pay(lee))).toEqual(missing);
    await pay();
    expect(await refusalOf(pay(lee))).toEqual(missing);
    expect(await shop.balance.read(lee)).toBe(5_000);
    expect(await shop.orders.find(kim, order.id)).toMatchObject({ status: 'paid' });
  });

  test('is any, for those who are no customers', async () => {
    const { pay, anyone, operator, balance } = await kimsOrder(5_000);
    for (const actor of [anyone, operator]) expect(await refusalOf(pay(actor))).toEqual({ code: 'forbidden' });
    expect(await balance()).toBe(5_000);
  });
});

describe('a payment', () => {
  test('is shown to who paid and to the operator', async () => {
    const { shop, kim, pay, operator } = await kimsOrder(5_000);
    const payment = await pay();
    expect(await shop.payments.find(kim, payment.id)).toEqual(payment);
    expect(await shop.payments.find(operator, payment.id)).toEqual(payment);
  });

  test('of somebody else answers like one that does not exist', async () => {
    const { shop, pay, customer, kim, anyone } = await kimsOrder(5_000);
    const { id } = await pay();
    const missing = await refusalOf(shop.payments.find(kim, nowhere));
    expect(missing).toEqual({ code: 'not_found', what: 'payment' });
    expect(await refusalOf(shop.payments.find(customer(), id))).toEqual(missing);
    expect(await refusalOf(shop.payments.find(anyone, id))).toEqual({ code: 'forbidden' });
  });
});
