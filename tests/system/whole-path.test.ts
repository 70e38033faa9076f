import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { audit, query } from '../support/history.ts';
import { freshDatabase, type OwnServer, startRedis } from '../support/servers.ts';
import { type Answer, type Client, connect, expected, mintToken, type Service, startService, until } from '../support/service.ts';

const operatorKey = 'fc_operator_key-for-tests-0123456789';

/** What the cases run in: the variables of both services, and what befalls them in the middle of each case. */
interface World {
  readonly name: string;
  readonly skip?: boolean;
  start?(): Promise<{ readonly [name: string]: string }>;
  trouble?(): Promise<void>;
  /** Ends the trouble. */
  mend?(): Promise<void>;
  stop?(): Promise<void>;
}

const noRedis = inject('redisUrl') === null;

const redisThat = (name: string, signal: 'SIGKILL' | 'SIGSTOP'): World => {
  let redis: OwnServer;
  const start = async (port?: number) => {
    const started = await startRedis(port === undefined ? {} : { port });
    if (started === null) throw new Error('no redis-server on PATH');
    redis = started;
    return { REDIS_URL: redis.url };
  };
  const pid = () => redis.pid;
  return {
    name,
    skip: noRedis,
    start: () => start(),
    trouble: async () => void process.kill(pid(), signal),
    mend: async () => {
      if (signal === 'SIGSTOP') process.kill(pid(), 'SIGCONT');
      else {
        await redis.stop();
        await start(Number(new URL(redis.url).port));
      }
    },
    stop: async () => {
      await redis.stop();
    },
  };
};

const worlds: readonly World[] = [
  {
    name: 'with Redis',
    skip: noRedis,
    start: async () => ({ REDIS_URL: inject('redisUrl') as string, JWT_SECRET: 'a-secret-for-tests-of-32-characters-and-more' }),
  },
  // Nor with a secret: the two share the one that the first of them made.
  { name: 'without Redis' },
  redisThat('with a Redis that is killed in the middle', 'SIGKILL'),
  redisThat('with a Redis that stands still from the middle on', 'SIGSTOP'),
];

describe.each(worlds.filter(({ skip }) => !skip))('two processes $name', ({ start, trouble, mend, stop }) => {
  let database: Awaited<ReturnType<typeof freshDatabase>>;
  let services: [Service, Service];
  let secret: string;
  let urls: [string, string];
  let operator: Client;

  beforeAll(async () => {
    database = await freshDatabase(inject('databaseUrl'));
    const env = { DATABASE_URL: database.url, OPERATOR_API_KEY: operatorKey, ...(await start?.()) } as Record<string, string>;
    // At once, on an empty database: both want to make the schema.
    services = await Promise.all([startService(env), startService(env)]);
    urls = [services[0].url, services[1].url];
    operator = connect(urls[0], operatorKey);
    secret = env.JWT_SECRET ?? (await query(database.url, `select value from secrets where name = 'jwt'`))[0].value;
  });
  afterAll(async () => {
    await Promise.all(services.map((service) => service.kill('SIGTERM')));
    await stop?.();
    await database.drop();
  });

  const allReady = (away: string[] = []) =>
    until(async () => {
      const answers = await Promise.all(urls.map((url) => connect(url).get('/readyz')));
      return answers.every(({ status, body }) => status === 200 && String(body.away) === String(away));
    });
  let troubled = false;
  beforeEach(async () => {
    troubled = false;
    await allReady();
  });
  afterEach(async () => {
    expect(services.map(({ output }) => output()).join('')).not.toMatch(/"level":(50|60)/);
    if (troubled) {
      // It was real, and the services are of use without Redis.
      await allReady(['redis']);
      await mend?.();
    }
    expect(await audit(database.url)).toEqual([]);
  });

  const befall = async () => {
    if (troubled) return;
    troubled = trouble !== undefined;
    await trouble?.();
  };
  /** All the answers; trouble comes with the first of them, while the others are on their way. */
  const atOnce = (requests: readonly Promise<Answer>[]): Promise<Answer[]> => {
    Promise.race(requests).then(befall, () => {});
    return Promise.all(requests);
  };
  const statuses = (answers: readonly Answer[]) => answers.map(({ status }) => status).sort();
  const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
  const newSku = () => `SKU-${randomUUID().slice(0, 8)}`;
  const stockOf = async (id: string, url: string) =>
    (await connect(url).get(`/v1/products/${id}`)).body.variants.map(({ stock }: { stock: number }) => stock);

  /** So many customers, each on both processes, admitted and with a connection that is warm. */
  const customers = (count: number): Promise<[Client, Client][]> =>
    Promise.all(
      times(count, async () => {
        const token = await mintToken(secret);
        const [here, there] = [connect(urls[0], token), connect(urls[1], token)];
        await Promise.all([here.balance(), there.balance()]);
        return [here, there] as [Client, Client];
      }),
    );
  const customer = async (): Promise<[Client, Client]> => (await customers(1))[0] as [Client, Client];

  test('from registration to the paid order, seen alike on both', async () => {
    const [here, there] = [connect(urls[0]), connect(urls[1])];
    const sku = newSku();
    const product = await expected(operator.product(sku, 3_000, 5));
    const email = `${randomUUID()}@example.com`;
    const { id, createdAt } = await expected(here.register(email, 'correct horse'));
    const { accessToken } = await expected(there.logIn(email, 'correct horse'));
    // Each step on the process that did not do the one before.
    const [mine, mineThere] = [here.as(accessToken), there.as(accessToken)];
    expect((await mine.get('/v1/me')).body).toEqual({ id, email, name: 'Mina', createdAt });
    expect(await expected(mine.charge(10_000))).toMatchObject({ amount: 10_000, balance: 10_000 });
    const order = await expected(mineThere.order({ [sku]: 2 }));
    expect(order).toMatchObject({ status: 'pending', total: 6_000, payment: null });
    expect(order.lines).toMatchObject([{ sku, quantity: 2, unitPrice: 3_000, amount: 6_000 }]);
    await befall();
    const payment = await expected(mine.pay(order.id));
    expect(payment).toMatchObject({ orderId: order.id, method: 'balance', amount: 6_000 });

    for (const one of [mine, mineThere]) {
      expect(await one.balance()).toBe(4_000);
      expect((await one.get('/v1/balance/entries')).body.items).toMatchObject([
        { kind: 'payment', amount: -6_000, balance: 4_000, orderId: order.id },
        { kind: 'charge', amount: 10_000, balance: 10_000, orderId: null },
      ]);
      const paid = { ...order, status: 'paid', payment };
      expect((await one.get('/v1/orders')).body).toEqual({ items: [paid], nextCursor: null });
      expect((await one.get(`/v1/orders/${order.id}`)).body).toEqual(paid);
      expect((await one.get(`/v1/payments/${payment.id}`)).body).toEqual(payment);
    }
    expect(await Promise.all(urls.map((url) => stockOf(product.id, url)))).toEqual([[3], [3]]);
  });

  test('payments of one order at once: charged once, all are told of the one payment', async () => {
    const sku = newSku();
    await expected(operator.product(sku, 4_000, 5));
    const [here, there] = await customer();
    await expected(here.charge(10_000));
    const { id } = await expected(here.order({ [sku]: 1 }));
    const paid = await atOnce([here, there, here].map((client) => client.pay(id)));
    expect(statuses(paid)).toEqual([201, 201, 201]);
    expect(new Set(paid.map(({ text }) => text)).size).toBe(1);
    expect(await there.balance()).toBe(6_000);
    expect((await there.get('/v1/balance/entries')).body.items).toHaveLength(2);
  });

  test('one idempotency key on both at once: one effect, and the same bytes to all', async () => {
    const sku = newSku();
    await expected(operator.product(sku, 1_000, 10));
    const [here, there] = await customer();
    const key = randomUUID();
    const commands: ((client: Client) => Promise<Answer>)[] = [
      (client) => client.charge(10_000, key),
      (client) => client.order({ [sku]: 2 }, { pay: true, key }),
    ];
    for (const command of commands) {
      const first = await atOnce([here, there, here, there, here, there].map(command));
      const replayed = await Promise.all([here, there].map(command));
      const done = [...first, ...replayed].filter(({ status }) => status === 201);
      const inFlight = first.filter(({ status }) => status !== 201);
      expect(done.length).toBeGreaterThanOrEqual(3);
      expect(new Set(done.map(({ text }) => text)).size).toBe(1);
      for (const { status, body, headers } of inFlight) {
        expect({ status, code: body.code }).toEqual({ status: 409, code: 'idempotency_key_in_use' });
        expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
      }
    }
    expect(await here.balance()).toBe(8_000);
    expect((await there.get('/v1/orders')).body.items).toHaveLength(1);

    const otherBody = await there.charge(20_000, key);
    expect([otherBody.status, otherBody.body.code]).toEqual([422, 'idempotency_key_reused']);
    // A refusal is an answer too: it stays, though the same could be done now.
    const refused = await here.order({ [sku]: 9 }, { key: `${key}-refused` });
    expect(refused.body.code).toBe('insufficient_stock');
    await expected(operator.post(`/v1/skus/${sku}/stock-adjustments`, { delta: 5, reason: 'found some' }));
    const again = await there.order({ [sku]: 9 }, { key: `${key}-refused` });
    expect([again.status, again.text]).toEqual([409, refused.text]);
  });

  test('of 20 registrations of one e-mail address over both, one is made', async () => {
    const email = `${randomUUID()}@example.com`;
    const answers = await atOnce(times(20, (i) => connect(urls[i % 2] as string).register(email, `password-${i}`)));
    expect(statuses(answers)).toEqual([201, ...Array(19).fill(409)]);
    const winner = answers.findIndex(({ status }) => status === 201);
    await expected(connect(urls[0]).logIn(email, `password-${winner}`));
    expect((await connect(urls[1]).logIn(email, `password-${(winner + 1) % 20}`)).status).toBe(401);
    expect(await query(database.url, `select 1 from customers where email = '${email}'`)).toHaveLength(1);
  });

  test('the last 10 pieces for 50 buyers over both: 10 buy, 40 are told that there are none', async () => {
    const sku = newSku();
    const product = await expected(operator.product(sku, 1_000, 10));
    const buyers = await customers(50);
    const answers = await atOnce(buyers.map((buyer, i) => (buyer[i % 2] as Client).order({ [sku]: 1 })));
    expect(statuses(answers)).toEqual([...Array(10).fill(201), ...Array(40).fill(409)]);
    const codes = answers.filter(({ status }) => status === 409).map(({ body }) => body.code);
    expect(new Set(codes)).toEqual(new Set(['insufficient_stock']));
    expect(await Promise.all(urls.map((url) => stockOf(product.id, url)))).toEqual([[0], [0]]);
  });

  test('orders of two products that cross: all are served, none holds another up, the rest gets nothing', async () => {
    const [a, b] = [newSku(), newSku()];
    const [productA, productB] = [await expected(operator.product(a, 1_000, 30)), await expected(operator.product(b, 1_000, 40))];
    const buyers = await customers(40);
    const order = (buyer: [Client, Client], i: number) =>
      (buyer[i % 2] as Client).order(i % 4 < 2 ? { [a]: 1, [b]: 1 } : { [b]: 1, [a]: 1 });
    const answers = await atOnce(buyers.map(order));
    expect(statuses(answers)).toEqual([...Array(30).fill(201), ...Array(10).fill(409)]);
    expect(await stockOf(productA.id, urls[0])).toEqual([0]);
    expect(await stockOf(productB.id, urls[1])).toEqual([10]);
  });

  test('a token of one works on the other, which refreshes it once; nobody sees what is not theirs', async () => {
    const email = `${randomUUID()}@example.com`;
    await expected(connect(urls[0]).register(email, 'correct horse'));
    const session = await expected(connect(urls[0]).logIn(email, 'correct horse'));
    expect((await connect(urls[1], session.accessToken).get('/v1/me')).body.email).toBe(email);
    const { refreshToken } = session;
    const refreshed = await atOnce(urls.map((url) => connect(url).post('/v1/sessions/refresh', { refreshToken })));
    expect(statuses(refreshed)).toEqual([201, 401]);

    const sku = newSku();
    await expected(operator.product(sku, 1_000, 5));
    const [mine] = await customer();
    const [, others] = await customer();
    const { id } = await expected(mine.order({ [sku]: 1 }));
    const absent = randomUUID();
    const answers = [await others.get(`/v1/orders/${id}`), await others.get(`/v1/orders/${absent}`), await others.pay(id)];
    expect(answers.map(({ status, body }) => [status, body.code])).toEqual(Array(3).fill([404, 'not_found']));
    expect((await connect(urls[1]).get(`/v1/orders/${id}`)).status).toBe(401);
    expect((await mine.get(`/v1/orders/${id}`)).body.status).toBe('pending');
  });
});
