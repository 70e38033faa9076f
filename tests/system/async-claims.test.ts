import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { type ClaimAsked, campaignBooks, claimContradictions } from '../support/claim-history.ts';
import { query } from '../support/history.ts';
import { freshDatabase, type OwnServer, startRedis } from '../support/servers.ts';
import { connect, expected, type Json, mintToken, type Service, startService, until } from '../support/service.ts';

const JWT_SECRET = 'a-secret-for-tests-of-32-characters-and-more';
const OPERATOR_API_KEY = 'fc_operator_key-for-tests-0123456789';
const CROWD = 400;
const HANGS = 12_000;

const noRedis = inject('redisUrl') === null;
const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

let database: Awaited<ReturnType<typeof freshDatabase>>;
let tokens: string[];
let client: pg.Client;
beforeAll(async () => {
  database = await freshDatabase(inject('databaseUrl'));
  tokens = await Promise.all(times(CROWD, (i) => mintToken(JWT_SECRET, `customer-${i}`)));
  client = new pg.Client({ connectionString: database.url });
  client.on('error', () => {});
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

interface Said {
  readonly event: string;
  readonly data: Json;
}
const eventsOf = (text: string): Said[] =>
  text.split('\n\n').flatMap((block) => {
    const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
    return event && data ? [{ event, data: JSON.parse(data) }] : [];
  });

/** A customer of an API process. */
const customerOf = (url: string, token: string) => {
  const api = connect(url, token);
  return {
    ...api,
    async enqueue(campaign: string, key?: string) {
      const headers: Record<string, string> = { authorization: `Bearer ${token}`, prefer: 'respond-async' };
      if (key !== undefined) headers['idempotency-key'] = key;
      const signal = AbortSignal.timeout(HANGS);
      const response = await fetch(`${url}/v1/campaigns/${campaign}/claims`, { method: 'POST', headers, signal });
      const text = await response.text();
      return { status: response.status, headers: response.headers, text, body: JSON.parse(text) };
    },
    view: (id: string) => api.get(`/v1/claims/${id}`),
    claimNow: (campaign: string) => api.post(`/v1/campaigns/${campaign}/claims`, {}),
    /** Listens to a claim; `said` grows, `ended` resolves with all of it. */
    watch(id: string) {
      let text = '';
      const listen = async () => {
        const response = await fetch(`${url}/v1/claims/${id}/events`, { headers: { authorization: `Bearer ${token}` } });
        expect(response.status).toBe(200);
        expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
        const decoder = new TextDecoder();
        for await (const chunk of response.body as AsyncIterable<Uint8Array>) text += decoder.decode(chunk, { stream: true });
        return eventsOf(text);
      };
      return { said: () => eventsOf(text), ended: listen() };
    },
  };
};
type Customer = ReturnType<typeof customerOf>;

interface World {
  readonly name: string;
  /** The API, and processes that only work; null: the API process works itself. */
  readonly split: boolean;
}
const worlds: readonly World[] = [
  { name: 'in one process, without Redis', split: false },
  { name: 'API and workers apart, with Redis', split: true },
];

describe.each(worlds.filter(({ split }) => !(split && noRedis)))('queued claims $name', ({ split }) => {
  let redis: OwnServer | null = null;
  let env: { [name: string]: string };
  let api: Service;
  const workers = new Set<Service>();
  const started: Service[] = [];
  let customers: Customer[];

  beforeAll(async () => {
    env = { DATABASE_URL: database.url, JWT_SECRET, OPERATOR_API_KEY };
    if (split) {
      redis = await startRedis();
      if (!redis) throw new Error('no redis-server on PATH');
      env = { ...env, REDIS_URL: redis.url };
    }
    api = await startService({ ...env, ROLE: split ? 'api' : 'all' });
    started.push(api);
    customers = tokens.map((token) => customerOf(api.url, token));
    const waiting = [...customers];
    const admit = async () => {
      for (let one = waiting.pop(); one; one = waiting.pop()) await expected(one.get('/v1/me'), 200);
    };
    await Promise.all(times(50, admit));
  });
  afterAll(async () => {
    await Promise.all([api, ...workers].map((service) => service.kill('SIGTERM')));
    await redis?.stop();
  });
  afterEach(async () => {
    // Whatever a failed test left.
    await client.query('rollback');
    if (redis) process.kill(redis.pid, 'SIGCONT');
    await stopWorkers();
    expect(started.map(({ output }) => output()).join('')).not.toMatch(/"level":(50|60)/);
  });

  const announce = async (quantity: number): Promise<string> => {
    const wanted = {
      name: 'Drop',
      discount: { kind: 'fixed', amount: 1_000 },
      quantity,
      opensAt: '2026-01-01T00:00:00Z',
      closesAt: '2099-01-01T00:00:00Z',
      validDays: 30,
    };
    return (await expected(connect(api.url, OPERATOR_API_KEY).post('/v1/campaigns', wanted))).id;
  };
  /** Nothing is decided on the campaigns until `release`: somebody else holds their rows. */
  const hold = async (...campaigns: string[]) => {
    await client.query('begin');
    await client.query('select 1 from campaigns where id = any($1::uuid[]) for update', [campaigns]);
  };
  const release = () => client.query('rollback');

  const startWorkers = async (count: number): Promise<Service[]> => {
    if (!split) return [];
    const some = await Promise.all(times(count, () => startService({ ...env, ROLE: 'worker' })));
    for (const worker of some) {
      workers.add(worker);
      started.push(worker);
    }
    return some;
  };
  const stopWorkers = async () => {
    const all = [...workers];
    workers.clear();
    await Promise.all(all.map((worker) => worker.kill('SIGTERM')));
  };

  const queued = async (campaign: string) => (await connect(api.url).get(`/v1/campaigns/${campaign}`)).body.queued;
  const issued = async (campaign: string) => (await connect(api.url).get(`/v1/campaigns/${campaign}`)).body.issued;

  interface Queued {
    readonly campaign: string;
    readonly at: number;
    readonly t0: number;
    readonly t1: number;
    readonly id: string;
    readonly position: number;
    /** Told at once: all were gone by then. */
    readonly soldOut: boolean;
  }
  const enqueue = async (campaign: string, at: number): Promise<Queued> => {
    const t0 = performance.now();
    const { status, body } = await (customers[at] as Customer).enqueue(campaign);
    const soldOut = status === 409 && body.code === 'sold_out';
    expect(soldOut || status === 202, JSON.stringify(body)).toBe(true);
    return { campaign, at, t0, t1: performance.now(), id: body.id, position: body.position, soldOut };
  };
  /** So many customers one after the other in 20 lanes. */
  const enqueueAll = async (campaign: string, count: number, from = 0): Promise<Queued[]> => {
    const waiting = times(count, (i) => from + i);
    const asked: Queued[] = [];
    const lane = async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) asked.push(await enqueue(campaign, next));
    };
    await Promise.all(times(20, lane));
    return asked;
  };
  /** What became of it: asks until it is decided, and claims again what was lost. Positions must not grow meanwhile. */
  const outcomeOf = async ({ campaign, at, id, position, soldOut, ...times }: Queued): Promise<ClaimAsked> => {
    const customer = customers[at] as Customer;
    if (soldOut) return { campaign, customer: `customer-${at}`, ...times, outcome: { refused: 'sold_out' } };
    let last = position;
    for (;;) {
      const { status, body } = await customer.view(id);
      if (status === 404) {
        // A worker may have had it in its hands and decide it yet: the coupon can be that of the first claim.
        const again = await customer.enqueue(campaign);
        const { code } = again.body;
        if (again.status !== 202) expect(['already_claimed', 'sold_out'], JSON.stringify(again.body)).toContain(code);
        const place = again.body.position ?? 0;
        const now = { position: place, soldOut: code === 'sold_out', t0: times.t0, t1: performance.now() };
        return outcomeOf({ campaign, at, id, ...now });
      }
      expect(status).toBe(200);
      if (body.status === 'queued') {
        expect(body.position).toBeLessThanOrEqual(last);
        last = body.position;
        continue;
      }
      const outcome = body.status === 'issued' ? { issued: body.coupon.rank } : { refused: body.reason };
      return { campaign, customer: `customer-${at}`, ...times, outcome };
    }
  };
  const outcomes = async (asked: readonly Queued[]) => {
    const waiting = [...asked];
    const history: ClaimAsked[] = [];
    const lane = async () => {
      for (let next = waiting.shift(); next; next = waiting.shift()) history.push(await outcomeOf(next));
    };
    await Promise.all(times(10, lane));
    return history;
  };
  const isSound = async (campaign: string, history: readonly ClaimAsked[], options = { lossless: false }) => {
    const books = await campaignBooks(database.url, campaign);
    expect(claimContradictions(history, books, options)).toEqual([]);
    return books.issued;
  };

  test('202, a place in the queue that only shrinks, events, and the coupon', async () => {
    const id = await announce(10);
    await hold(id);
    const [first, second] = customers as [Customer, Customer];
    const answer = await first.enqueue(id);
    expect(answer.status).toBe(202);
    expect(answer.body).toEqual({
      id: answer.body.id,
      campaignId: id,
      status: 'queued',
      position: 1,
      coupon: null,
      reason: null,
    });
    expect(answer.headers.get('location')).toBe(`/v1/claims/${answer.body.id}`);
    expect(answer.headers.get('preference-applied')).toBe('respond-async');
    const other = await second.enqueue(id);
    expect(other.body).toMatchObject({ status: 'queued', position: 2 });
    expect(other.body.id).not.toBe(answer.body.id);
    // Asked twice, it waits once, at its place.
    expect((await first.enqueue(id)).body).toEqual(answer.body);
    expect(await queued(id)).toBe(2);
    expect((await second.view(other.body.id)).body).toEqual(other.body);

    const watched = second.watch(other.body.id);
    await until(() => watched.said().length > 0);
    expect(watched.said()).toEqual([{ event: 'queued', data: other.body }]);
    await release();
    await startWorkers(1);
    const said = await watched.ended;
    const positions = said.filter(({ event }) => event === 'queued').map(({ data }) => data.position);
    expect(positions).toEqual(positions.toSorted((a, b) => b - a));
    const { body } = await second.view(other.body.id);
    expect(said.at(-1)).toEqual({ event: 'issued', data: body });
    expect(said.filter(({ event }) => event !== 'queued')).toHaveLength(1);
    expect(body).toMatchObject({ status: 'issued', position: null, coupon: { campaignId: id, rank: 2 }, reason: null });
    expect((await second.get('/v1/coupons')).body.items[0]).toEqual(body.coupon);
    // What is decided is told at once.
    expect(await second.watch(other.body.id).ended).toEqual([{ event: 'issued', data: body }]);
    expect(await queued(id)).toBe(0);
    // Who has one is told so, queued or not.
    expect((await second.enqueue(id)).body).toMatchObject({ status: 409, code: 'already_claimed' });
    expect((await second.claimNow(id)).body).toMatchObject({ status: 409, code: 'already_claimed' });
  });

  test('refused when all are gone: by GET, by events', async () => {
    const id = await announce(1);
    await hold(id);
    const [won, lost] = [await enqueue(id, 0), await enqueue(id, 1)];
    const watched = (customers[1] as Customer).watch(lost.id);
    await until(() => watched.said().length > 0);
    await release();
    await startWorkers(1);
    const refused = { id: lost.id, campaignId: id, status: 'refused', position: null, coupon: null, reason: 'sold_out' };
    expect((await watched.ended).at(-1)).toEqual({ event: 'refused', data: refused });
    expect((await (customers[1] as Customer).view(lost.id)).body).toEqual(refused);
    expect(await isSound(id, await outcomes([won, lost]), { lossless: true })).toBe(1);
  });

  test('a claim that waits, and the same without waiting: one coupon', async () => {
    const id = await announce(5);
    await hold(id);
    const waiting = await enqueue(id, 0);
    const now = (customers[0] as Customer).claimNow(id);
    await release();
    // The worker of the one process may have been faster.
    expect([201, 409]).toContain((await now).status);
    await startWorkers(1);
    await until(async () => (await queued(id)) === 0);
    const { body } = await (customers[0] as Customer).view(waiting.id);
    expect(body).toMatchObject({ status: 'issued', coupon: { rank: 1 } });
    expect(await isSound(id, await outcomes([waiting]))).toBe(1);
  });

  test('an idempotency key replays the 202, also when the claim is decided; another preference with it is 422', async () => {
    const id = await announce(5);
    await hold(id);
    const [customer, other] = customers as [Customer, Customer];
    await enqueue(id, 2);
    const key = randomUUID();
    const first = await customer.enqueue(id, key);
    expect(first.body).toMatchObject({ status: 'queued', position: 2 });
    const replayed = await customer.enqueue(id, key);
    expect([replayed.status, replayed.text]).toEqual([202, first.text]);
    // Keys are each customer's own.
    expect((await other.enqueue(id, key)).body).toMatchObject({ status: 'queued', position: 3 });
    expect(await queued(id)).toBe(3);
    await release();
    await startWorkers(1);
    await until(async () => (await queued(id)) === 0);
    const late = await customer.enqueue(id, key);
    expect([late.status, late.text, late.headers.get('location')]).toEqual([202, first.text, `/v1/claims/${first.body.id}`]);
    const sync = await customer.post(`/v1/campaigns/${id}/claims`, {}, key);
    expect([sync.status, sync.body.code]).toEqual([422, 'idempotency_key_reused']);
    expect(await queued(id)).toBe(0);
    expect(await issued(id)).toBe(3);
  });

  test("somebody else's claim is one that does not exist, queued or decided", async () => {
    const id = await announce(5);
    await hold(id);
    const { id: claim } = await enqueue(id, 0);
    const [owner, stranger] = customers as [Customer, Customer];
    const absent = randomUUID();
    const seen = async () => {
      const paths = [`/v1/claims/${claim}`, `/v1/claims/${absent}`, `/v1/claims/${claim}/events`, `/v1/claims/${absent}/events`];
      const answers = await Promise.all(paths.map((path) => stranger.get(path)));
      const bodies = answers.map(({ body: { requestId, instance, ...same } }) => same);
      expect(bodies).toEqual(Array(4).fill(bodies[0]));
      expect(bodies[0]).toMatchObject({ status: 404, code: 'not_found' });
      expect((await connect(api.url).get(`/v1/claims/${claim}`)).status).toBe(401);
    };
    await seen();
    await release();
    await startWorkers(1);
    await until(async () => (await owner.view(claim)).body.status === 'issued');
    await seen();
    const nowhere = await owner.enqueue(randomUUID());
    expect([nowhere.status, nowhere.body.code]).toEqual([404, 'not_found']);
  });

  test('100 coupons, 400 customers: exactly 100, in the order in which they asked', async () => {
    const id = await announce(100);
    if (split) await startWorkers(2);
    const asked = await enqueueAll(id, CROWD);
    expect(await isSound(id, await outcomes(asked), { lossless: true })).toBe(100);
  });

  test('four campaigns are drained beside each other, each in its order', async () => {
    const ids = await Promise.all([10, 30, 60, 200].map(announce));
    await hold(...ids);
    const asked = (await Promise.all(ids.map((id) => enqueueAll(id, 100)))).flat();
    expect(await Promise.all(ids.map(queued))).toEqual([100, 100, 100, 100]);
    await release();
    await startWorkers(2);
    const history = await outcomes(asked);
    expect(await Promise.all(ids.map((id) => isSound(id, history, { lossless: true })))).toEqual([10, 30, 60, 100]);
    // Held until all had asked: the place in the queue is the rank.
    const ranks = asked.toSorted((a, b) => a.position - b.position);
    const last = ids.at(-1);
    const inOrder = ranks.filter(({ campaign }) => campaign === last).map(({ at }) => `customer-${at}`);
    const books = await campaignBooks(database.url, last as string);
    expect(books.coupons.toSorted((a, b) => a.rank - b.rank).map(({ customer }) => customer)).toEqual(inOrder);
  });

  if (split) {
    const flush = async () => {
      const admin = new Redis((redis as OwnServer).url);
      await admin.flushall();
      admin.disconnect();
    };
    /** The place in the queue is the rank, up to the quantity. */
    const isInOrder = async (campaign: string, asked: readonly Queued[]) => {
      const { coupons, quantity } = await campaignBooks(database.url, campaign);
      const inOrder = asked.toSorted((a, b) => a.position - b.position).map(({ at }) => `customer-${at}`);
      const ranked = coupons.toSorted((a, b) => a.rank - b.rank).map(({ customer }) => customer);
      expect(ranked).toEqual(inOrder.slice(0, quantity));
    };

    /** A worker that has taken claims waits for the row that we hold. */
    const workerWaits = () => {
      const waits = `select 1 from pg_stat_activity
        where application_name = 'firstcome' and datname = current_database() and wait_event_type = 'Lock'`;
      return until(async () => (await query(database.url, waits)).length > 0);
    };
    /** Stops Redis, or lets it go on, until the process knows. */
    const redisIs = (signal: 'SIGSTOP' | 'SIGCONT', { url }: Service = api) => {
      process.kill((redis as OwnServer).pid, signal);
      const away = signal === 'SIGSTOP' ? 'redis' : '';
      return until(async () => String((await connect(url).get('/readyz')).body.away) === away);
    };

    test('a worker killed -9, with claims in its hands and at a random moment of others: they are decided, in order', async () => {
      const [held, drained] = [await announce(200), await announce(200)];
      const asked = [await enqueueAll(held, 300), await enqueueAll(drained, 300)] as const;
      await hold(held);
      const [worker] = (await startWorkers(1)) as [Service];
      await workerWaits();
      await until(async () => (await issued(drained)) > 0);
      workers.delete(worker);
      await worker.kill('SIGKILL');
      expect(await issued(held)).toBe(0);
      await release();
      await startWorkers(2);
      const history = await outcomes(asked.flat());
      expect([await isSound(held, history), await isSound(drained, history)]).toEqual([200, 200]);
      await isInOrder(held, asked[0]);
      await isInOrder(drained, asked[1]);
    });

    test('while Redis is away nobody can queue, and nobody hangs; what is decided is told', async () => {
      const id = await announce(5);
      await startWorkers(1);
      const first = await enqueue(id, 0);
      const told = await outcomeOf(first);
      expect(told.outcome).toEqual({ issued: 1 });
      const [decided, late] = customers as [Customer, Customer];
      const absent = randomUUID();
      process.kill((redis as OwnServer).pid, 'SIGSTOP');
      try {
        const answer = await late.enqueue(id);
        expect(answer.status).toBe(503);
        expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
        expect((await decided.view(first.id)).body).toMatchObject({ status: 'issued', coupon: { rank: 1 } });
        expect((await late.view(absent)).status).toBe(503);
        expect((await connect(api.url).get(`/v1/campaigns/${id}`)).body).toMatchObject({ issued: 1, queued: 0 });
      } finally {
        await redisIs('SIGCONT');
      }
      const again = await outcomeOf(await enqueue(id, 1));
      expect(await isSound(id, [told, again])).toBe(2);
    });

    // A claim handed out again after its commit counts one more attempt: claim-coupon.ts, `work`.
    test('a claim whose decision could not be reported to Redis counts as asked once', async () => {
      const id = await announce(5);
      await enqueue(id, 0);
      await hold(id);
      const [worker] = (await startWorkers(1)) as [Service];
      await workerWaits();
      await redisIs('SIGSTOP', worker);
      await release();
      await until(async () => (await campaignBooks(database.url, id)).issued === 1);
      await redisIs('SIGCONT');
      await until(async () => (await queued(id)) === 0);
      const { claims } = await campaignBooks(database.url, id);
      expect(claims).toMatchObject([{ customer: 'customer-0', decision: 'issued', rank: 1, attempts: 1 }]);
    });

    test('FLUSHALL while claims wait: 404, the events say lost, and the claim can be made again', async () => {
      const id = await announce(10);
      const asked = await enqueueAll(id, 20);
      const one = asked[0] as Queued;
      const customer = customers[one.at] as Customer;
      const watched = customer.watch(one.id);
      await until(() => watched.said().length > 0);
      await flush();
      expect((await watched.ended).at(-1)).toEqual({ event: 'lost', data: { id: one.id } });
      for (const { at, id: claim } of asked) expect((await (customers[at] as Customer).view(claim)).status).toBe(404);
      expect(await queued(id)).toBe(0);
      const again = await enqueueAll(id, 20);
      expect(new Set(again.map((claim) => claim.id))).toEqual(new Set(asked.map((claim) => claim.id)));
      await startWorkers(1);
      expect(await isSound(id, await outcomes(again))).toBe(10);
      await isInOrder(id, again);
    });

    test('FLUSHALL while workers drain: decided or lost, and in the end exactly the quantity', async () => {
      const id = await announce(150);
      const asked = await enqueueAll(id, 300);
      await startWorkers(2);
      await until(async () => (await issued(id)) > 0);
      await flush();
      expect(await isSound(id, await outcomes(asked))).toBe(150);
      await until(async () => (await queued(id)) === 0);
    });
  }
});
