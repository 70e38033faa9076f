import { describe, expect, test } from 'vitest';
import { expectProblem, INSTANT, type Json, openHttp } from '../support/http.ts';

const world = await openHttp();
const EMPTY = { items: [], total: 0 };
const item = (sku: string) => `/v1/cart/items/${sku}`;

describe('the cart', () => {
  test('is empty at first', async () => {
    const answer = await (await world.customer()).get('/v1/cart');
    expect([answer.status, answer.body]).toEqual([200, EMPTY]);
  });

  test('shows lines at the prices and the stock of now, in the order they were put in', async () => {
    const kim = await world.customer();
    const a = await world.product({ price: 1_500, stock: 4, name: 'Mug' });
    const b = await world.product({ price: 300 });
    await kim.put(item(a.variants[0].sku), { quantity: 1 });
    await kim.put(item(b.variants[0].sku), { quantity: 10 });
    const put = await kim.put(item(a.variants[0].sku), { quantity: 2 });
    expect(put.status).toBe(200);
    expect(put.body.items[0]).toEqual({
      sku: a.variants[0].sku,
      productId: a.id,
      name: 'Mug',
      quantity: 2,
      unitPrice: 1_500,
      unitPriceWhenAdded: 1_500,
      amount: 3_000,
      stock: 4,
      status: 'on_sale',
      changes: [],
      addedAt: INSTANT,
    });
    expect(put.body.total).toBe(6_000);
    expect((await kim.get('/v1/cart')).body).toEqual(put.body);
  });

  test('says what changed since', async () => {
    const kim = await world.customer();
    const { id, variants } = await world.product({ price: 1_000, stock: 5 });
    const [{ sku }] = variants;
    await kim.put(item(sku), { quantity: 3 });
    await world.operator.patch(`/v1/products/${id}`, { status: 'hidden', variants: [{ sku, price: 1_200 }] });
    await world.operator.post(`/v1/skus/${sku}/stock-adjustments`, { delta: -3, reason: 'lost' });
    const [line] = (await kim.get('/v1/cart')).body.items;
    expect(line).toMatchObject({ unitPrice: 1_200, unitPriceWhenAdded: 1_000, amount: 3_600, stock: 2, status: 'hidden' });
    expect(line.changes.sort()).toEqual(['insufficient_stock', 'not_on_sale', 'price_changed']);
  });

  test('lets go of one SKU, or of all', async () => {
    const kim = await world.customer();
    const skus = [await world.product(), await world.product(), await world.product()].map(
      ({ variants }: Json) => variants[0].sku,
    );
    for (const sku of skus) await kim.put(item(sku), { quantity: 1 });
    const gone = await kim.delete(item(skus[1]));
    expect([gone.status, gone.text]).toEqual([204, '']);
    expect((await kim.get('/v1/cart')).body.items.map(({ sku }: Json) => sku)).toEqual([skus[0], skus[2]]);
    for (const _ of [1, 2]) {
      const cleared = await kim.delete('/v1/cart');
      expect([cleared.status, cleared.text]).toEqual([204, '']);
    }
    expect((await kim.get('/v1/cart')).body).toEqual(EMPTY);
  });

  test('refuses what is not sold, what is not in it, and what is too much', async () => {
    const kim = await world.customer();
    const hidden = await world.product({ status: 'hidden' });
    const { variants } = await world.product();
    const before = await world.state();
    expectProblem(await kim.put(item('NOTHING'), { quantity: 1 }), 404, 'not_found');
    expectProblem(await kim.put(item(hidden.variants[0].sku), { quantity: 1 }), 409, 'not_on_sale');
    expectProblem(await kim.delete(item(variants[0].sku)), 404, 'not_found');
    for (const body of [{}, { quantity: 0 }, { quantity: 11 }, { quantity: '1' }, { quantity: 1, price: 1 }])
      expectProblem(await kim.put(item(variants[0].sku), body), 400, 'validation_failed');
    expectProblem(await kim.put(item('-'), { quantity: 1 }), 400, 'validation_failed');
    expectProblem(await kim.delete(item('-')), 400, 'validation_failed');
    expect(await world.state()).toEqual(before);
  });

  test('holds 50 different SKUs', async () => {
    const kim = await world.customer();
    const variants = Array.from({ length: 51 }, (_, i) => ({ sku: `FULL-${i}`, name: `${i}`, price: 1, stock: 1 }));
    await world.operator.post('/v1/products', { name: 'many', category: 'many', variants });
    for (const { sku } of variants.slice(0, 50)) expect((await kim.put(item(sku), { quantity: 1 })).status).toBe(200);
    expectProblem(await kim.put(item('FULL-50'), { quantity: 1 }), 409, 'cart_full');
    expect((await kim.put(item('FULL-0'), { quantity: 2 })).status).toBe(200);
  });

  test.each([
    ['GET', '/v1/cart', undefined],
    ['PUT', '/v1/cart/items/A', { quantity: 1 }],
    ['DELETE', '/v1/cart/items/A', undefined],
    ['DELETE', '/v1/cart', undefined],
  ] as const)('%s %s is for customers', async (method, path, body) => {
    expectProblem(await world.anyone.send(method, path, body), 401, 'unauthenticated');
    expectProblem(await world.operator.send(method, path, body), 403, 'forbidden');
  });
});
