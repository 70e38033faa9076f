import { describe, expect, test } from 'vitest';
import { claimId } from '../../adapters/system/system.ts';
import { type Customer, expectProblem, type HttpWorld, type Json, openHttp } from '../support/http.ts';
import { type Operation, operationsOf } from './document.ts';

interface Owned {
  /** A's object, and all that is A's and must not be told to B. */
  readonly make: (a: Customer, world: HttpWorld) => Promise<{ readonly id: string; readonly secrets: readonly string[] }>;
  readonly body?: Json;
}
/** What belongs to nobody: why B may name it. */
type Shared =
  | 'everybody may see it'
  | 'operators only'
  | 'names a product; what changes is the cart of the caller'
  | 'names a campaign; the coupon is the caller’s';

const NO_ID = '01900000-0000-7000-8000-000000000000';
const NO_SKU = 'NOTHING';

const order = async (a: Customer, world: HttpWorld, pay?: 'balance') => {
  await a.post('/v1/balance/charges', { amount: 1_000_000 });
  const [{ sku }] = (await world.product()).variants;
  const placed = await a.post('/v1/orders', { items: [{ sku, quantity: 1 }], pay });
  expect(placed.status).toBe(201);
  return placed.body;
};

const claim = async (a: Customer, world: HttpWorld) => {
  const { body: campaign } = await world.operator.post('/v1/campaigns', {
    name: 'campaign',
    discount: { kind: 'fixed', amount: 1_000 },
    quantity: 5,
    opensAt: new Date(world.clock.now - 1_000).toISOString(),
    closesAt: new Date(world.clock.now + 86_400_000).toISOString(),
    validDays: 7,
  });
  const issued = await a.post(`/v1/campaigns/${campaign.id}/claims`);
  expect(issued.status).toBe(201);
  return { id: claimId(campaign.id, a.id), secrets: [campaign.id, issued.body.id] };
};

/** Every operation on a thing with an id. A new one without an entry fails below. */
const entries: { readonly [operation: string]: Owned | Shared } = {
  'GET /v1/orders/{id}': {
    make: async (a, world) => {
      const { id, lines } = await order(a, world);
      return { id, secrets: [lines[0].sku] };
    },
  },
  'POST /v1/orders/{id}/payment': {
    make: async (a, world) => ({ id: (await order(a, world)).id, secrets: [] }),
    body: { method: 'balance' },
  },
  'GET /v1/payments/{id}': {
    make: async (a, world) => {
      const { id, payment } = await order(a, world, 'balance');
      return { id: payment.id, secrets: [id] };
    },
  },
  'DELETE /v1/cart/items/{sku}': {
    make: async (a, world) => {
      const [{ sku: id }] = (await world.product()).variants;
      await a.put(`/v1/cart/items/${id}`, { quantity: 2 });
      return { id, secrets: [] };
    },
  },
  'GET /v1/claims/{id}': { make: (a, world) => claim(a, world) },
  'GET /v1/claims/{id}/events': { make: (a, world) => claim(a, world) },
  'POST /v1/campaigns/{id}/claims': 'names a campaign; the coupon is the caller’s',
  'GET /v1/campaigns/{id}': 'everybody may see it',
  'GET /v1/campaigns/{id}/ranking': 'everybody may see it',
  'POST /v1/campaigns/{id}/close': 'operators only',
  'PUT /v1/cart/items/{sku}': 'names a product; what changes is the cart of the caller',
  'GET /v1/products/{id}': 'everybody may see it',
  'PATCH /v1/products/{id}': 'operators only',
  'POST /v1/skus/{sku}/stock-adjustments': 'operators only',
};

const operations = operationsOf((await (await openHttp()).anyone.get('/docs/json')).body);
const withId = operations.filter(({ path }) => path.includes('{'));

test('every operation on a thing with an id has an entry here', () => {
  expect(withId.map(({ name }) => name).filter((name) => !(name in entries))).toEqual([]);
});

const owned = withId.flatMap((operation) => {
  const entry = entries[operation.name];
  return typeof entry === 'object' ? [{ ...operation, entry }] : [];
});

const call = (client: Customer, { method, path }: Operation, id: string, body: Json, key?: string) =>
  client.send(method, path.replace(/\{\w+\}/, id), body, key ? { 'idempotency-key': key } : {});

describe.each(owned)("$name of somebody else's", (operation) => {
  const { entry } = operation;
  const meet = async () => {
    const world = await openHttp();
    const [a, b] = [await world.customer('A'), await world.customer('B')];
    await b.post('/v1/balance/charges', { amount: 1_000_000 });
    return { world, a, b, ...(await entry.make(a, world)) };
  };

  test('is answered as one that is not there, tells nothing, and changes nothing', async () => {
    const { world, a, b, id, secrets } = await meet();
    const before = await world.state();
    const theirs = await call(b, operation, id, entry.body);
    const missing = await call(b, operation, operation.path.includes('{sku}') ? NO_SKU : NO_ID, entry.body);
    const said = expectProblem(theirs, 404, 'not_found');
    expect(said).toEqual({ ...expectProblem(missing, 404, 'not_found'), instance: said.instance, requestId: said.requestId });
    const headers = ({ headers: { date, 'x-request-id': _, 'content-length': __, ...rest } }: typeof theirs) => rest;
    expect(headers(theirs)).toEqual(headers(missing));
    for (const secret of [...secrets, a.id, a.email, a.name])
      expect(JSON.stringify({ ...said, instance: '' })).not.toContain(`"${secret}"`);
    expect(await world.state()).toEqual(before);
  });

  test('stays its owner’s to use', async () => {
    const { a, b, id } = await meet();
    await call(b, operation, id, entry.body);
    expect((await call(a, operation, id, entry.body)).status).toBeLessThan(300);
  });

  test.runIf(operation.method === 'POST')('is not replayed with its owner’s idempotency key', async () => {
    const { world, a, b, id } = await meet();
    expect((await call(a, operation, id, entry.body, 'the-same-key')).status).toBe(201);
    const before = await world.state();
    expectProblem(await call(b, operation, id, entry.body, 'the-same-key'), 404, 'not_found');
    expect(await world.state()).toEqual(before);
  });
});

const customers = (operation: Operation) => operation.caller.includes('customer');

test.each(operations.filter((operation) => customers(operation) && operation.method === 'GET' && !operation.path.includes('{')))(
  "$name shows nothing of somebody else's",
  async ({ path }) => {
    const world = await openHttp();
    const [a, b] = [await world.customer('Aaron'), await world.customer('Berta')];
    const { id, lines, payment } = await order(a, world, 'balance');
    await a.put(`/v1/cart/items/${lines[0].sku}`, { quantity: 2 });
    const { text } = await b.get(path);
    for (const secret of [a.id, a.email, a.name, id, payment.id, lines[0].sku]) expect(text).not.toContain(secret);
  },
);

test.each(operations.filter((operation) => customers(operation) && operation.body))(
  '$name takes no customer id from its body, nor from a header or the query',
  async ({ method, path, name }) => {
    const world = await openHttp();
    const [a, b] = [await world.customer('A'), await world.customer('B')];
    const [{ sku }] = (await world.product()).variants;
    await b.post('/v1/balance/charges', { amount: 1_000_000 });
    const { body: own } = await b.post('/v1/orders', { items: [{ sku, quantity: 1 }] });
    const url = path.replace('{sku}', sku).replace('{id}', own.id);
    const good: Json = {
      'POST /v1/balance/charges': { amount: 1_000 },
      'PUT /v1/cart/items/{sku}': { quantity: 1 },
      'POST /v1/orders/{id}/payment': { method: 'balance' },
    }[name] ?? { items: [{ sku, quantity: 1 }] };
    for (const field of ['customerId', 'userId', 'subject', 'id', 'actor']) {
      const answer = await b.send(method, url, { ...good, [field]: a.id });
      expectProblem(answer, 400, 'validation_failed');
    }
    const mine = async () => [
      (await a.get('/v1/balance')).body,
      (await a.get('/v1/orders')).body,
      (await a.get('/v1/cart')).body,
      (await a.get('/v1/balance/entries')).body,
    ];
    const before = await mine();
    const done = await b.send(method, `${url}?customerId=${a.id}`, good, { 'x-customer-id': a.id, 'x-user-id': a.id });
    if (done.status >= 300) expectProblem(done, 400, 'validation_failed');
    expect(await mine()).toEqual(before);
  },
);

test("nobody's cart is changed by another's", async () => {
  const world = await openHttp();
  const [a, b] = [await world.customer('A'), await world.customer('B')];
  const [{ sku }] = (await world.product()).variants;
  await a.put(`/v1/cart/items/${sku}`, { quantity: 2 });
  const before = (await a.get('/v1/cart')).body;
  await b.put(`/v1/cart/items/${sku}`, { quantity: 9 });
  await b.delete(`/v1/cart/items/${sku}`);
  await b.delete('/v1/cart');
  expect((await a.get('/v1/cart')).body).toEqual(before);
});
