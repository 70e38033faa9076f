import { describe, expect, test } from 'vitest';
import { DomainError, Unavailable } from '../../core/shared/refusal.ts';
import type { Shop } from '../../core/shop.ts';
import { type Answer, expectProblem, expectWholeProblem, openHttp, UUID } from '../support/http.ts';
import { operationsOf } from './document.ts';

const world = await openHttp();
const { anyone, operator } = world;
const kim = await world.customer();

/** The API on a shop whose balance cannot be read for this reason. */
const failing = async (error: unknown) => {
  const own = await openHttp({
    shop: (shop): Shop => ({ ...shop, balance: { ...shop.balance, read: () => Promise.reject(error) } }),
  });
  return { logs: own.logs, answer: await (await own.customer()).get('/v1/balance') };
};

describe('the request id', () => {
  test.each(['request-1', 'a.b_c-d.', 'x'.repeat(64)])('%s is echoed, on success and in problems', async (id) => {
    const done = await kim.get('/v1/balance', { 'x-request-id': id });
    expect(done.headers['x-request-id']).toBe(id);
    for (const refused of [
      await anyone.get('/v1/balance', { 'x-request-id': id }),
      await kim.get('/nowhere', { 'x-request-id': id }),
    ]) {
      expect(refused.headers['x-request-id']).toBe(id);
      expect(expectWholeProblem(refused).requestId).toBe(id);
    }
  });

  test.each(['', 'short', 'x'.repeat(65), 'has space', 'a"b"c"d"e', '<script>alert', 'ümlaut-id'])(
    '%j is replaced by our own',
    async (id) => {
      const answer = await kim.get('/v1/balance', { 'x-request-id': id });
      expect(answer.headers['x-request-id']).toEqual(UUID);
    },
  );

  test('is in the log line of its request', async () => {
    await kim.get('/v1/balance', { 'x-request-id': 'find-me-again' });
    expect(world.logs.filter((line) => line.includes('"reqId":"find-me-again"'))).not.toEqual([]);
  });
});

describe('problems', () => {
  test('what is not there, and what cannot be done to it', async () => {
    for (const answer of [
      await anyone.get('/'),
      await anyone.get('/v1'),
      await anyone.get('/v2/products'),
      await kim.get('/V1/balance'),
      await kim.delete('/v1/orders'),
      await kim.put('/v1/orders', {}),
      await kim.post('/healthz', {}),
    ])
      expectProblem(answer, 404, 'route_not_found');
  });

  test.each(['/v1/products/%', '/v1/products/%zz', '/v1/products/%ff', '/%c0%af'])('the path %s is refused', async (path) => {
    const answer = await anyone.get(path);
    expect([400, 404]).toContain(answer.status);
    expectWholeProblem(answer);
  });

  test('name the path without the query', async () => {
    expect((await anyone.get('/v1/orders?cursor=secret')).body.instance).toBe('/v1/orders');
  });

  test('the detail is a sentence of its own for every refusal that a client can meet', async () => {
    const answers = [await anyone.get('/v1/me'), await operator.get('/v1/me'), await kim.get('/nowhere')];
    expect(new Set(answers.map(({ body }) => body.detail)).size).toBe(answers.length);
  });

  test.each(['nothing_changed', 'unknown'] as const)('a server away (%s) is 503 with Retry-After', async (outcome) => {
    const { answer } = await failing(new Unavailable('the disk under /srv/secret is full', outcome));
    expectProblem(answer, 503, outcome === 'unknown' ? 'outcome_unknown' : 'unavailable');
    expect(answer.headers['retry-after']).toBe('1');
    expect(answer.text).not.toContain('secret');
  });

  test('busy with the same is 409 with Retry-After', async () => {
    const { answer } = await failing(new DomainError({ code: 'busy' }));
    expectProblem(answer, 409, 'busy');
    expect(answer.headers['retry-after']).toBe('1');
  });

  const tellsNothing = async (fault: unknown) => {
    const { answer, logs } = await failing(fault);
    expect(answer.text).not.toContain('root');
    expectProblem(answer, 500, 'internal_error');
    expect(logs.some((line) => line.includes('"level":50') && line.includes(answer.body.requestId))).toBe(true);
  };
  test.each([
    new Error('connection to 10.0.0.7 as root failed'),
    new TypeError('root'),
    Object.assign(new Error('root'), { statusCode: 502 }),
    Object.assign(new Error('root'), { code: '42P01', detail: 'root' }),
  ])('an unexpected fault (%s) is logged and tells nothing of itself', tellsNothing);

  // problem.ts: `'statusCode' in error` throws for what is no object, and the framework answers with that message.
  test.each(['root', null, undefined])('a fault that is no error (%s) is logged and tells nothing of itself', tellsNothing);

  // problem.ts takes over whatever statusCode a foreign error bears, and then logs nothing.
  test.each([200, 302, 401])('a fault that bears the status %s of somebody else is logged and is a 500', (statusCode) =>
    tellsNothing(Object.assign(new Error('root'), { statusCode })),
  );
});

describe('rights', async () => {
  const operations = operationsOf((await anyone.get('/docs/json')).body);
  const call = (client: typeof anyone, { method, path, body }: (typeof operations)[number]): Promise<Answer> =>
    client.send(method, path.replace('{id}', '01900000-0000-7000-8000-000000000000').replace('{sku}', 'A'), body && {});

  test.each(operations)('$name is for: $caller', async (operation) => {
    const before = await world.state();
    const [nobody, customer, staff] = [
      await call(anyone, operation),
      await call(kim, operation),
      await call(operator, operation),
    ];
    const may = (role: string) => operation.caller === 'anyone' || operation.caller.split(' or ').includes(role);
    if (operation.caller === 'anyone') expect(nobody.body?.code).not.toBe('unauthenticated');
    else expectProblem(nobody, 401, 'unauthenticated');
    for (const [role, answer] of [
      ['customer', customer],
      ['operator', staff],
    ] as const) {
      if (may(role)) expect([401, 403]).not.toContain(answer.status);
      else expectProblem(answer, 403, 'forbidden');
    }
    expect({ ...(await world.state()), written: null }).toEqual({ ...before, written: null });
  });

  const queries = operations.map((operation) => ({
    ...operation,
    // Routes without a query schema drop what they do not know.
    known: operation.parameters.some((parameter) => parameter.in === 'query'),
  }));
  const strict = queries.filter(({ known }) => known);
  test.each(strict)('$name refuses an unknown query parameter', async ({ method, path, caller }) => {
    const client = caller === 'operator' ? operator : kim;
    expectProblem(await client.send(method, `${path}?unknown=1`), 400, 'validation_failed');
  });

  // Routes without a body schema take any body for none.
  test.each(operations.filter(({ method, body }) => method === 'POST' && !body))('$name refuses a body', async (operation) => {
    const client = operation.caller === 'operator' ? operator : kim;
    const path = operation.path.replace('{id}', '01900000-0000-7000-8000-000000000000');
    expectProblem(await client.post(path, { unknown: 1 }), 400, 'validation_failed');
  });

  test('every operation refuses an unknown query parameter', async () => {
    for (const { method, path, caller } of queries.filter(({ known, method }) => !known && method === 'GET')) {
      if (path.includes('{')) continue;
      const answer = await (caller === 'operator' ? operator : kim).send(method, `${path}?unknown=1`);
      expectProblem(answer, 400, 'validation_failed');
    }
  });
});

describe('the rate limit', () => {
  test('answers 429 with Retry-After, for each subject of its own', async () => {
    const own = await openHttp({ rateLimit: 5 });
    const lee = await own.customer();
    const answers = await Promise.all(Array.from({ length: 10 }, () => lee.get('/v1/balance')));
    const refused = answers.filter(({ status }) => status !== 200);
    expect(refused.length).toBeGreaterThanOrEqual(1);
    for (const answer of refused) {
      expectProblem(answer, 429, 'rate_limited');
      expect(answer.headers['retry-after']).toBe('1');
    }
    expect((await own.operator.get('/v1/orders')).status).toBe(200);
  });

  test('is off at 0', async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, () => kim.get('/v1/balance')));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
  });
});

describe('probes', () => {
  test('/healthz and /metrics answer anyone', async () => {
    expect((await anyone.get('/healthz')).body).toEqual({ status: 'ok' });
    const metrics = await anyone.get('/metrics');
    expect(metrics.headers['content-type']).toMatch(/^text\/plain/);
    expect(metrics.text).toContain(
      'firstcome_http_request_duration_seconds_count{method="GET",route="/v1/balance",status="200"}',
    );
    expect(metrics.text).not.toContain(kim.id);
  });

  test.each([
    ['200 when all is there', [], [], 200, { status: 'ready', away: [] }],
    ['200 and says which when only a helpful one is away', [], ['redis'], 200, { status: 'ready', away: ['redis'] }],
    ['503 when a needed one is away', ['postgres'], ['redis'], 503, { status: 'away', away: ['postgres', 'redis'] }],
  ])('/readyz says %s', async (_what, needed, helpful, status, body) => {
    const own = await openHttp({ away: async () => ({ needed, helpful }) });
    const answer = await own.anyone.get('/readyz');
    expect([answer.status, answer.body]).toEqual([status, body]);
  });

  test('/readyz says 503 from closing() on, while everything else is answered', async () => {
    const own = await openHttp();
    const lee = await own.customer();
    own.closing();
    const answer = await own.anyone.get('/readyz');
    expect([answer.status, answer.body]).toEqual([503, { status: 'closing', away: [] }]);
    expect((await lee.get('/v1/balance')).status).toBe(200);
    expect((await own.anyone.get('/healthz')).status).toBe(200);
  });

  test('a worker has probes and metrics only', async () => {
    const worker = await openHttp({ api: false });
    for (const path of ['/healthz', '/readyz', '/metrics']) expect((await worker.anyone.get(path)).status).toBe(200);
    for (const path of ['/v1/products', '/docs', '/docs/json'])
      expectProblem(await worker.anyone.get(path), 404, 'route_not_found');
  });
});
