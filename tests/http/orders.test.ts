import { describe, expect, test } from 'vitest';
import { newUuid } from '../../adapters/system/system.ts';
import { expectProblem, INSTANT, type Json, openHttp, UUID } from '../support/http.ts';

const world = await openHttp();
const { anyone, operator } = world;
const kim = await world.customer();
const NO_ID = '01900000-0000-7000-8000-000000000000';

const sold = async (wish: { price?: number; stock?: number; status?: 'hidden' } = {}): Promise<string> =>
  (await world.product(wish)).variants[0].sku;
const one = (sku: string, quantity = 1) => ({ items: [{ sku, quantity }] });
const stockOf = async (sku: string) => (await world.store.products.skus([sku]))[0]?.stock;
const rich = async () => {
  const customer = await world.customer();
  expect((await customer.post('/v1/balance/charges', { amount: 1_000_000 })).status).toBe(201);
  return customer;
};

/** What neither a quote nor an order may name. */
const badBaskets = async (): Promise<[number, string, unknown][]> => {
  const sku = await sold({ stock: 3 });
  const line = { sku, quantity: 1 };
  return [
    [404, 'not_found', one('NOTHING')],
    [409, 'not_on_sale', one(await sold({ status: 'hidden' }))],
    [409, 'insufficient_stock', one(sku, 4)],
    [400, 'duplicate_sku', { items: [line, line] }],
    [409, 'no_items', { fromCart: true }],
    [400, 'validation_failed', {}],
    [400, 'validation_failed', { items: [] }],
    [400, 'validation_failed', { items: line }],
    [400, 'validation_failed', { items: [line], fromCart: true }],
    [400, 'validation_failed', { fromCart: false }],
    [400, 'validation_failed', { fromCart: 'true' }],
    [400, 'validation_failed', { items: [{ sku }] }],
    [400, 'validation_failed', { items: [{ quantity: 1 }] }],
    [400, 'validation_failed', { items: [{ sku, quantity: 0 }] }],
    [400, 'validation_failed', { items: [{ sku, quantity: 11 }] }],
    [400, 'validation_failed', { items: [{ sku, quantity: 1, unitPrice: 1 }] }],
    [400, 'validation_failed', { items: [line], total: 1 }],
    [400, 'validation_failed', { items: [line], customerId: kim.id }],
    [400, 'validation_failed', { items: Array.from({ length: 51 }, (_, i) => ({ sku: `S-${i}`, quantity: 1 })) }],
  ];
};

describe('POST /v1/orders/quotes', () => {
  test('is the order sheet, and reserves nothing', async () => {
    const [a, b] = [await sold({ price: 1_200, stock: 5 }), await sold({ price: 300, stock: 5 })];
    const before = await world.state();
    const answer = await kim.post('/v1/orders/quotes', {
      items: [
        { sku: a, quantity: 2 },
        { sku: b, quantity: 1 },
      ],
    });
    expect(answer.status).toBe(201);
    expect(answer.body).toEqual({
      lines: [
        { sku: a, name: expect.any(String), quantity: 2, unitPrice: 1_200, discount: 0, amount: 2_400 },
        { sku: b, name: expect.any(String), quantity: 1, unitPrice: 300, discount: 0, amount: 300 },
      ],
      goodsTotal: 2_700,
      discountTotal: 0,
      total: 2_700,
    });
    expect(await world.state()).toEqual(before);
  });

  test('quotes the cart', async () => {
    const lee = await world.customer();
    const sku = await sold({ price: 500 });
    await lee.put(`/v1/cart/items/${sku}`, { quantity: 3 });
    expect((await lee.post('/v1/orders/quotes', { fromCart: true })).body.total).toBe(1_500);
    expect((await lee.get('/v1/cart')).body.items).toHaveLength(1);
  });

  test('refuses what an order would refuse', async () => {
    const bad = await badBaskets();
    const before = await world.state();
    for (const [status, code, body] of bad) expectProblem(await kim.post('/v1/orders/quotes', body), status, code);
    expectProblem(await kim.post('/v1/orders/quotes', { ...one('A'), pay: 'balance' }), 400, 'validation_failed');
    expect(await world.state()).toEqual(before);
  });
});

describe('POST /v1/orders', () => {
  test('takes the stock, and is pending for ten minutes', async () => {
    const sku = await sold({ price: 1_200, stock: 5 });
    const answer = await kim.post('/v1/orders', one(sku, 2));
    expect(answer.status).toBe(201);
    expect(answer.body).toEqual({
      id: UUID,
      status: 'pending',
      lines: [{ sku, name: expect.any(String), quantity: 2, unitPrice: 1_200, discount: 0, amount: 2_400 }],
      goodsTotal: 2_400,
      discountTotal: 0,
      total: 2_400,
      refundedTotal: 0,
      couponId: null,
      payment: null,
      createdAt: INSTANT,
      expiresAt: INSTANT,
    });
    expect(Date.parse(answer.body.expiresAt) - Date.parse(answer.body.createdAt)).toBe(600_000);
    expect(await stockOf(sku)).toBe(3);
  });

  test('keeps the prices and the names of the moment', async () => {
    const { id, variants } = await world.product({ price: 1_000, name: 'Before' });
    const [{ sku }] = variants;
    const { body: order } = await kim.post('/v1/orders', one(sku));
    await operator.patch(`/v1/products/${id}`, { name: 'After', variants: [{ sku, price: 9_000 }] });
    expect((await kim.get(`/v1/orders/${order.id}`)).body).toEqual(order);
  });

  test('takes the stock of every line or of none', async () => {
    const [much, little] = [await sold({ stock: 10 }), await sold({ stock: 1 })];
    const before = await world.state();
    const items = [
      { sku: much, quantity: 5 },
      { sku: little, quantity: 2 },
    ];
    const { detail } = expectProblem(await kim.post('/v1/orders', { items }), 409, 'insufficient_stock');
    expect(detail).toContain(little);
    expect(await world.state()).toEqual(before);
  });

  test('orders the cart and empties it', async () => {
    const lee = await world.customer();
    const sku = await sold({ price: 500 });
    await lee.put(`/v1/cart/items/${sku}`, { quantity: 3 });
    const order = await lee.post('/v1/orders', { fromCart: true });
    expect([order.status, order.body.total]).toEqual([201, 1_500]);
    expect((await lee.get('/v1/cart')).body.items).toEqual([]);
  });

  test('pays in the same commit when it is told to', async () => {
    const lee = await rich();
    const { body: order } = await lee.post('/v1/orders', { ...one(await sold({ price: 4_000 }), 2), pay: 'balance' });
    expect(order).toMatchObject({ status: 'paid', total: 8_000 });
    expect(order.payment).toEqual({ id: UUID, orderId: order.id, method: 'balance', amount: 8_000, paidAt: INSTANT });
    expect((await lee.get('/v1/balance')).body.balance).toBe(992_000);
  });

  test('places nothing when it cannot be paid in the same commit', async () => {
    const poor = await world.customer();
    const sku = await sold({ price: 4_000 });
    const before = await world.state();
    expectProblem(await poor.post('/v1/orders', { ...one(sku), pay: 'balance' }), 402, 'insufficient_balance');
    expect(await world.state()).toEqual(before);
  });

  test('refuses bad baskets and changes nothing', async () => {
    const bad = await badBaskets();
    const before = await world.state();
    for (const [status, code, body] of bad) expectProblem(await kim.post('/v1/orders', body), status, code);
    for (const pay of ['card', true, null, 1_000]) {
      expectProblem(await kim.post('/v1/orders', { ...one('A'), pay }), 400, 'validation_failed');
    }
    expect(await world.state()).toEqual(before);
  });

  test.each(['/v1/orders', '/v1/orders/quotes'])('POST %s is for customers', async (path) => {
    expectProblem(await anyone.post(path, one('A')), 401, 'unauthenticated');
    expectProblem(await operator.post(path, one('A')), 403, 'forbidden');
  });

  test('of twenty at once for ten pieces ten get one', async () => {
    const sku = await sold({ stock: 10 });
    const buyers = await Promise.all(Array.from({ length: 20 }, () => world.customer()));
    const answers = await Promise.all(buyers.map((buyer) => buyer.post('/v1/orders', one(sku))));
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array(10).fill(201), ...Array(10).fill(409)]);
    expect(await stockOf(sku)).toBe(0);
  });
});

describe('GET /v1/orders and /v1/orders/{id}', () => {
  test('a customer sees its own, newest first, page by page; an operator sees all', async () => {
    const [lee, sku] = [await rich(), await sold()];
    const placed: Json[] = [];
    for (const pay of [undefined, 'balance', undefined])
      placed.unshift((await lee.post('/v1/orders', { ...one(sku), pay })).body);
    const all = await lee.get('/v1/orders');
    expect([all.status, all.body]).toEqual([200, { items: placed, nextCursor: null }]);

    const first = (await lee.get('/v1/orders?limit=2')).body;
    const second = (await lee.get(`/v1/orders?limit=2&cursor=${first.nextCursor}`)).body;
    expect([...first.items, ...second.items]).toEqual(placed);
    expect(second.nextCursor).toBeNull();

    expect((await lee.get('/v1/orders?status=paid')).body.items).toEqual([placed[1]]);
    expect((await lee.get('/v1/orders?status=refunded')).body.items).toEqual([]);
    expect((await operator.get('/v1/orders?limit=3')).body.items).toEqual(placed);
    expect((await operator.get(`/v1/orders/${placed[0].id}`)).body).toEqual(placed[0]);
    expect((await kim.get('/v1/orders?limit=100')).text).not.toContain(placed[0].id);
  });

  test('orders of one millisecond are listed newest first, too', async () => {
    const own = await openHttp({ ports: () => ({ newId: newUuid }) });
    const lee = await own.customer();
    const [{ sku }] = (await own.product()).variants;
    const actor = { subject: lee.id, role: 'customer' } as const;
    const placed: string[] = [];
    for (let i = 0; i < 50; i++) placed.unshift((await own.shop.orders.place({ actor }, one(sku))).id);
    const { body } = await lee.get('/v1/orders?limit=100');
    expect(body.items.map(({ id }: Json) => id)).toEqual(placed);
  });

  test.each(['limit=0', 'limit=101', 'status=lost', 'status=', 'cursor=*', 'owner=1', 'status=paid&status=pending'])(
    '?%s is refused',
    async (query) => {
      expectProblem(await kim.get(`/v1/orders?${query}`), 400, 'validation_failed');
    },
  );

  test('what is not there is not found, what is no id is refused, nobody sees nothing', async () => {
    expectProblem(await kim.get(`/v1/orders/${NO_ID}`), 404, 'not_found');
    expectProblem(await operator.get(`/v1/orders/${NO_ID}`), 404, 'not_found');
    expectProblem(await kim.get('/v1/orders/1'), 400, 'validation_failed');
    expectProblem(await anyone.get('/v1/orders'), 401, 'unauthenticated');
    expectProblem(await anyone.get(`/v1/orders/${NO_ID}`), 401, 'unauthenticated');
  });
});

describe('payments', () => {
  const pay = (client: Json, id: string, body: unknown = { method: 'balance' }) => client.post(`/v1/orders/${id}/payment`, body);

  test('an order is paid once, however often and at once it is asked', async () => {
    const lee = await rich();
    const { body: order } = await lee.post('/v1/orders', one(await sold({ price: 5_000 })));
    const answers = await Promise.all(Array.from({ length: 5 }, () => pay(lee, order.id)));
    expect(answers.map(({ status }) => status)).toEqual(Array(5).fill(201));
    const [{ body: payment }] = answers;
    expect(payment).toEqual({ id: UUID, orderId: order.id, method: 'balance', amount: 5_000, paidAt: INSTANT });
    for (const answer of answers) expect(answer.body).toEqual(payment);
    expect((await lee.get('/v1/balance')).body.balance).toBe(995_000);
    expect((await lee.get(`/v1/orders/${order.id}`)).body).toEqual({ ...order, status: 'paid', payment });
    for (const client of [lee, operator]) expect((await client.get(`/v1/payments/${payment.id}`)).body).toEqual(payment);
  });

  test('too low a balance leaves the order pending and payable', async () => {
    const lee = await world.customer();
    const { body: order } = await lee.post('/v1/orders', one(await sold({ price: 5_000 })));
    const before = await world.state();
    const { detail } = expectProblem(await pay(lee, order.id), 402, 'insufficient_balance');
    expect(detail).toContain('5000');
    expect(await world.state()).toEqual(before);
    await lee.post('/v1/balance/charges', { amount: 5_000 });
    expect((await pay(lee, order.id)).status).toBe(201);
  });

  test('an order whose time is over cannot be paid', async () => {
    const own = await openHttp();
    const lee = await own.customer();
    await lee.post('/v1/balance/charges', { amount: 10_000 });
    const { body: order } = await lee.post('/v1/orders', one((await own.product()).variants[0].sku));
    own.clock.advance(600_000);
    const before = await own.state();
    expectProblem(await pay(lee, order.id), 409, 'order_expired');
    expect(await own.state()).toEqual(before);
  });

  test('refuses what is no order, no method, no customer', async () => {
    const { body: order } = await kim.post('/v1/orders', one(await sold()));
    expectProblem(await pay(kim, NO_ID), 404, 'not_found');
    expectProblem(await pay(kim, 'x'), 400, 'validation_failed');
    for (const body of [undefined, {}, { method: 'card' }, { method: 'balance', amount: 1 }, null])
      expectProblem(await kim.post(`/v1/orders/${order.id}/payment`, body), 400, 'validation_failed');
    expectProblem(await pay(operator, order.id), 403, 'forbidden');
    expectProblem(await pay(anyone, order.id), 401, 'unauthenticated');
    expectProblem(await kim.get(`/v1/payments/${NO_ID}`), 404, 'not_found');
    expectProblem(await kim.get('/v1/payments/x'), 400, 'validation_failed');
    expectProblem(await anyone.get(`/v1/payments/${NO_ID}`), 401, 'unauthenticated');
  });
});
