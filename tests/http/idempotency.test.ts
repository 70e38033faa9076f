import { describe, expect, test, vi } from 'vitest';
import { type Customer, expectProblem, type HttpWorld, type Json, openHttp } from '../support/http.ts';
import { operationsOf } from './document.ts';

interface Asked {
  readonly path: string;
  readonly body?: Json;
}
interface Post {
  /** What each case needs, new; gives what is done, and what else could be asked for under the same key. */
  readonly done: (world: HttpWorld, kim: Customer) => Promise<Asked & { readonly other?: Asked }>;
  /** What a rule refuses; undefined where no rule says no. */
  readonly refused?: (world: HttpWorld, kim: Customer) => Promise<Asked & { readonly code: string }>;
  readonly by: 'anyone' | 'customer' | 'operator';
}

const sku = async (world: HttpWorld, stock = 100): Promise<string> => (await world.product({ stock })).variants[0].sku;
const items = async (world: HttpWorld, quantity = 1) => ({ items: [{ sku: await sku(world, 5), quantity }] });

const campaign = (world: HttpWorld, changes: object = {}) => ({
  name: 'campaign',
  discount: { kind: 'percent', percent: 10 },
  quantity: 5,
  opensAt: new Date(world.clock.now - 1_000).toISOString(),
  closesAt: new Date(world.clock.now + 86_400_000).toISOString(),
  validDays: 7,
  ...changes,
});
const announced = async (world: HttpWorld): Promise<string> =>
  `/v1/campaigns/${(await world.operator.post('/v1/campaigns', campaign(world))).body.id}`;

/** Every POST there is; one without an entry fails below. */
const posts: { readonly [operation: string]: Post } = {
  'POST /v1/customers': {
    by: 'anyone',
    done: async (_world, { email }) => ({
      path: '/v1/customers',
      body: { email: `new-${email}`, password: 'correct horse', name: 'New' },
    }),
    refused: async (_world, { email }) => ({
      path: '/v1/customers',
      body: { email, password: 'correct horse', name: 'New' },
      code: 'email_taken',
    }),
  },
  'POST /v1/sessions': {
    by: 'anyone',
    done: async (world, { email, password }) => {
      const lee = await world.customer('Lee');
      return {
        path: '/v1/sessions',
        body: { email, password },
        other: { path: '/v1/sessions', body: { email: lee.email, password: lee.password } },
      };
    },
    refused: async (_world, { email }) => ({
      path: '/v1/sessions',
      body: { email, password: 'wrong horse' },
      code: 'invalid_credentials',
    }),
  },
  'POST /v1/sessions/refresh': {
    by: 'anyone',
    done: async (world, { refreshToken }) => ({
      path: '/v1/sessions/refresh',
      body: { refreshToken },
      other: { path: '/v1/sessions/refresh', body: { refreshToken: (await world.customer('Lee')).refreshToken } },
    }),
    refused: async (world, { refreshToken }) => {
      await world.anyone.post('/v1/sessions/refresh', { refreshToken });
      return { path: '/v1/sessions/refresh', body: { refreshToken }, code: 'session_ended' };
    },
  },
  'POST /v1/sessions/end': {
    by: 'anyone',
    done: async (world, { refreshToken }) => ({
      path: '/v1/sessions/end',
      body: { refreshToken },
      other: { path: '/v1/sessions/end', body: { refreshToken: (await world.customer('Lee')).refreshToken } },
    }),
  },
  'POST /v1/products': {
    by: 'operator',
    done: async () => ({
      path: '/v1/products',
      body: { name: 'new', category: 'new', variants: [{ sku: 'IDEMPOTENT', name: 'new', price: 1, stock: 1 }] },
    }),
    refused: async (world) => ({
      path: '/v1/products',
      body: { name: 'new', category: 'new', variants: [{ sku: await sku(world), name: 'new', price: 1, stock: 1 }] },
      code: 'sku_taken',
    }),
  },
  'POST /v1/skus/{sku}/stock-adjustments': {
    by: 'operator',
    done: async (world) => ({ path: `/v1/skus/${await sku(world)}/stock-adjustments`, body: { delta: 7, reason: 'came' } }),
    refused: async (world) => ({
      path: `/v1/skus/${await sku(world, 5)}/stock-adjustments`,
      body: { delta: -6, reason: 'lost' },
      code: 'insufficient_stock',
    }),
  },
  'POST /v1/campaigns': {
    by: 'operator',
    done: async (world) => ({ path: '/v1/campaigns', body: campaign(world) }),
    refused: async (world) => ({
      path: '/v1/campaigns',
      body: campaign(world, { closesAt: new Date(world.clock.now - 2_000).toISOString() }),
      code: 'invalid_campaign',
    }),
  },
  'POST /v1/campaigns/{id}/close': {
    by: 'operator',
    done: async (world) => ({ path: `${await announced(world)}/close`, other: { path: `${await announced(world)}/close` } }),
  },
  'POST /v1/campaigns/{id}/claims': {
    by: 'customer',
    done: async (world) => ({ path: `${await announced(world)}/claims`, other: { path: `${await announced(world)}/claims` } }),
    refused: async (world, kim) => {
      const path = `${await announced(world)}/claims`;
      await kim.post(path);
      return { path, code: 'already_claimed' };
    },
  },
  'POST /v1/balance/charges': {
    by: 'customer',
    done: async () => ({ path: '/v1/balance/charges', body: { amount: 1_000 } }),
    refused: async (_world, kim) => {
      for (let i = 0; i < 3; i++) await kim.post('/v1/balance/charges', { amount: 1_000 });
      return { path: '/v1/balance/charges', body: { amount: 1_000 }, code: 'charge_limit_reached' };
    },
  },
  'POST /v1/orders/quotes': {
    by: 'customer',
    done: async (world) => ({ path: '/v1/orders/quotes', body: await items(world) }),
    refused: async (world) => ({ path: '/v1/orders/quotes', body: await items(world, 6), code: 'insufficient_stock' }),
  },
  'POST /v1/orders': {
    by: 'customer',
    done: async (world, kim) => {
      await kim.put(`/v1/cart/items/${await sku(world)}`, { quantity: 2 });
      return { path: '/v1/orders', body: { fromCart: true } };
    },
    refused: async (world) => ({ path: '/v1/orders', body: await items(world, 6), code: 'insufficient_stock' }),
  },
  'POST /v1/orders/{id}/payment': {
    by: 'customer',
    done: async (world, kim) => {
      await kim.post('/v1/balance/charges', { amount: 10_000 });
      const { body: order } = await kim.post('/v1/orders', await items(world));
      return { path: `/v1/orders/${order.id}/payment`, body: { method: 'balance' } };
    },
    refused: async (world, kim) => {
      const { body: order } = await kim.post('/v1/orders', await items(world));
      return { path: `/v1/orders/${order.id}/payment`, body: { method: 'balance' }, code: 'insufficient_balance' };
    },
  },
};

const setting = async ({ by }: Post) => {
  const world = await openHttp();
  const kim = await world.customer();
  return { world, kim, client: { anyone: world.anyone, customer: kim, operator: world.operator }[by] };
};
const KEY = { 'idempotency-key': 'key-1' };

test('every POST has an entry here', async () => {
  const world = await openHttp();
  const there = operationsOf((await world.anyone.get('/docs/json')).body).map(({ name }) => name);
  expect(there.filter((name) => name.startsWith('POST ') && !(name in posts))).toEqual([]);
});

describe.each(Object.entries(posts))('%s', (_name, post) => {
  test('the same key and body have one effect and the same answer, to the byte', async () => {
    const { world, kim, client } = await setting(post);
    const { path, body } = await post.done(world, kim);
    const first = await client.post(path, body, KEY);
    expect([200, 201, 204]).toContain(first.status);
    const after = await world.state();
    for (const respelled of [body, body && JSON.stringify(body, null, 2)]) {
      const replayed = await client.post(path, respelled, KEY);
      expect([replayed.status, replayed.text]).toEqual([first.status, first.text]);
      expect(replayed.headers['content-type']).toBe(first.headers['content-type']);
    }
    expect(await world.state()).toEqual(after);
  });

  test('the same key with another body is refused and changes nothing', async () => {
    const { world, kim, client } = await setting(post);
    const { path, body, other } = await post.done(world, kim);
    await client.post(path, body, KEY);
    const after = await world.state();
    const changed = other ?? another(path, body);
    expectProblem(await client.post(changed.path, changed.body, KEY), 422, 'idempotency_key_reused');
    expect(await world.state()).toEqual(after);
  });

  test('two at once with one key have one effect; the second is told to wait', async () => {
    const { world, kim, client } = await setting(post);
    const { path, body } = await post.done(world, kim);
    const { reached, release } = world.hold();
    const first = client.post(path, body, KEY);
    await reached;
    const second = await client.post(path, body, KEY);
    release();
    expectProblem(second, 409, 'idempotency_key_in_use');
    expect(second.headers['retry-after']).toBe('1');
    const { status, text } = await first;
    const third = await client.post(path, body, KEY);
    expect([third.status, third.text]).toEqual([status, text]);
  });

  test.each(['', ' ', 'a b', 'schlüssel', 'x'.repeat(256), '\t'])('the key %j is refused and changes nothing', async (key) => {
    const { world, kim, client } = await setting(post);
    const { path, body } = await post.done(world, kim);
    const before = await world.state();
    expectProblem(await client.post(path, body, { 'idempotency-key': key }), 400, 'invalid_idempotency_key');
    expect(await world.state()).toEqual(before);
  });

  test('a body that the schema refuses does not use the key up', async () => {
    const { world, kim, client } = await setting(post);
    const { path, body } = await post.done(world, kim);
    if (!body) return;
    expectProblem(await client.post(path, { ...body, more: 1 }, KEY), 400, 'validation_failed');
    expect((await client.post(path, body, KEY)).status).toBeLessThan(300);
  });

  if (!post.refused) return;
  const { refused } = post;
  test('a refusal is replayed to the byte, also when it would be none now', async () => {
    const { world, kim, client } = await setting(post);
    const { path, body, code } = await refused(world, kim);
    const first = await client.post(path, body, KEY);
    expect(first.body.code).toBe(code);
    const after = await world.state();
    if (code === 'charge_limit_reached') world.clock.advance(23 * 3_600_000);
    const replayed = await client.post(path, body, KEY);
    expect([replayed.status, replayed.text]).toEqual([first.status, first.text]);
    expect(await world.state()).toEqual(after);
  });
});

/** Another thing to ask for that is valid by its form. */
const another = (path: string, body: Json): Asked => {
  if ('amount' in body) return { path, body: { amount: 2_000 } };
  if ('name' in body) return { path, body: { ...body, name: 'Another' } };
  if ('delta' in body) return { path, body: { ...body, delta: 8 } };
  if ('items' in body) return { path, body: { items: [{ ...body.items[0], quantity: 2 }] } };
  if ('fromCart' in body) return { path, body: { ...body, pay: 'balance' } };
  return { path: path.replace(/[0-9a-f]{12}/, 'ffffffffffff'), body };
};

describe('an idempotency key', () => {
  test('of 255 visible characters serves', async () => {
    const world = await openHttp();
    const kim = await world.customer();
    const key = { 'idempotency-key': '~'.repeat(255) };
    const first = await kim.post('/v1/balance/charges', { amount: 1_000 }, key);
    expect((await kim.post('/v1/balance/charges', { amount: 1_000 }, key)).text).toBe(first.text);
    expect((await kim.get('/v1/balance')).body.balance).toBe(1_000);
  });

  test("is its sender's own, and its operation's own", async () => {
    const world = await openHttp();
    const [kim, lee] = [await world.customer(), await world.customer('Lee')];
    const mine = await kim.post('/v1/balance/charges', { amount: 1_000 }, KEY);
    const yours = await lee.post('/v1/balance/charges', { amount: 1_000 }, KEY);
    expect(yours.status).toBe(201);
    expect(yours.body.id).not.toBe(mine.body.id);
    expect((await lee.get('/v1/balance')).body.balance).toBe(1_000);
    const [{ sku: code }] = (await world.product()).variants;
    expect((await kim.post('/v1/orders', { items: [{ sku: code, quantity: 1 }] }, KEY)).status).toBe(201);
  });

  test('is forgotten after 24 hours, and not before', async () => {
    const world = await openHttp();
    const kim = await world.customer();
    const charge = () => kim.post('/v1/balance/charges', { amount: 1_000 }, KEY);
    const first = await charge();
    world.clock.advance(24 * 3_600_000 - 1);
    expect((await charge()).text).toBe(first.text);
    world.clock.advance(1);
    expect((await charge()).body.id).not.toBe(first.body.id);
  });

  test('serves again after the shop was away', async () => {
    let away = true;
    const { Unavailable } = await import('../../core/shared/refusal.ts');
    const world = await openHttp({
      ports: ({ transact }) => ({
        transact: (scope, decide) =>
          away && scope.accounts ? Promise.reject(new Unavailable('away', 'nothing_changed')) : transact(scope, decide),
      }),
    });
    const kim = await world.customer();
    expectProblem(await kim.post('/v1/balance/charges', { amount: 1_000 }, KEY), 503, 'unavailable');
    away = false;
    expect((await kim.post('/v1/balance/charges', { amount: 1_000 }, KEY)).status).toBe(201);
  });

  test('means nothing to other methods', async () => {
    const world = await openHttp();
    const kim = await world.customer();
    const [{ sku: code }] = (await world.product()).variants;
    for (const quantity of [1, 2])
      expect((await kim.put(`/v1/cart/items/${code}`, { quantity }, KEY)).body.items[0].quantity).toBe(quantity);
  });
});

describe('a claim that is queued', () => {
  const queued = async () => {
    const world = await openHttp();
    const kim = await world.customer();
    const path = `${await announced(world)}/claims`;
    const enqueue = () => kim.post(path, undefined, { ...KEY, prefer: 'respond-async' });
    return { world, kim, path, enqueue, first: await enqueue() };
  };

  // core/coupon/claim-coupon.ts looks for a decision, and joins the queue, before it looks for the key.
  test('is answered alike under its key, also once it is decided', async () => {
    const { world, kim, enqueue, first } = await queued();
    const working = world.shop.coupons.work();
    const { id } = first.body;
    await vi.waitUntil(async () => (await kim.get(`/v1/claims/${id}`)).body.status === 'issued');
    await working.stop();
    const replayed = await enqueue();
    expect([replayed.status, replayed.text]).toEqual([first.status, first.text]);
  });

  // Prefer is no part of the fingerprint: what was kept for the one is sent as the other, a 500.
  test('does not share its key with a claim that is not', async () => {
    const { kim, path } = await queued();
    expectProblem(await kim.post(path, undefined, KEY), 422, 'idempotency_key_reused');
  });
});
