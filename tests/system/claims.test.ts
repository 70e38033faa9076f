import { randomInt } from 'node:crypto';
import { Agent, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { type ClaimAsked, campaignBooks, claimContradictions } from '../support/claim-history.ts';
import { freshDatabase, type OwnServer, startRedis } from '../support/servers.ts';
import { connect, expected, isAlive, type Json, mintToken, type Service, startService, until } from '../support/service.ts';

const JWT_SECRET = 'a-secret-for-tests-of-32-characters-and-more';
const OPERATOR_API_KEY = 'fc_operator_key-for-tests-0123456789';
const CROWD = 1_000;
/** Customers that ask at the same time. */
const LANES = 100;
/** A request without an answer after so many milliseconds hangs. */
const HANGS = 12_000;

const noRedis = inject('redisUrl') === null;
const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

interface Customer {
  readonly id: string;
  readonly token: string;
}
let database: Awaited<ReturnType<typeof freshDatabase>>;
let crowd: Customer[];
const agent = new Agent({ keepAlive: true, maxFreeSockets: 1_000 });

// One shop, with one crowd that is on record: each world has its own processes on it.
beforeAll(async () => {
  database = await freshDatabase(inject('databaseUrl'));
  const service = await startService({ DATABASE_URL: database.url, JWT_SECRET, OPERATOR_API_KEY });
  crowd = await Promise.all(
    times(CROWD, async (i) => ({ id: `customer-${i}`, token: await mintToken(JWT_SECRET, `customer-${i}`) })),
  );
  const waiting = [...crowd];
  const admit = async () => {
    for (let one = waiting.pop(); one; one = waiting.pop()) await expected(connect(service.url, one.token).get('/v1/me'), 200);
  };
  await Promise.all(times(50, admit));
  await service.kill('SIGTERM');
});
afterAll(async () => {
  agent.destroy();
  await database.drop();
});

/** One claim. Rejects when the connection is cut; one that hangs ends the test. */
const post = (base: string, campaign: string, token: string) =>
  new Promise<{ status: number; body: Json }>((resolve, reject) => {
    const asking = request(`${base}/v1/campaigns/${campaign}/claims`, {
      method: 'POST',
      agent,
      headers: { authorization: `Bearer ${token}` },
    });
    const hangs = setTimeout(() => asking.destroy(new Error('a request hangs')), HANGS);
    asking.on('close', () => clearTimeout(hangs));
    asking.on('error', reject);
    asking.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk));
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode as number, body: JSON.parse(text) }));
    });
    asking.end();
  });

const outcomeOf = ({ status, body }: { status: number; body: Json }): ClaimAsked['outcome'] => {
  if (status === 201) return { issued: body.rank };
  if (status === 503) return 'unknown';
  return { refused: status === 409 ? body.code : `${status} ${body.code}` };
};

interface Trouble {
  /** Answers after which it comes. */
  readonly after: number;
  readonly happens: () => Promise<unknown>;
}
interface Rush {
  readonly campaigns: readonly string[];
  readonly people: readonly Customer[];
  /** Claims of each customer at once. */
  readonly asks: number;
  readonly troubles?: readonly Trouble[];
  /** So many of the people come only when all trouble is over. */
  readonly late?: number;
}

/** Every customer claims on every campaign, and again until it is known what became of it. */
const rush = async (urls: () => Promise<readonly string[]>, { campaigns, people, asks, troubles = [], late = 0 }: Rush) => {
  const history: ClaimAsked[] = [];
  const underWay: Promise<unknown>[] = [];
  const over = Promise.withResolvers<void>();
  if (troubles.length === 0) over.resolve();
  const befall = () => {
    const trouble = troubles[underWay.length];
    if (!trouble || history.length < trouble.after) return;
    const happening = trouble.happens();
    happening.catch(over.reject);
    underWay.push(happening);
    if (underWay.length === troubles.length) Promise.all(underWay).then(() => over.resolve(), over.reject);
  };
  const ask = async (campaign: string, { id, token }: Customer, base: string) => {
    const t0 = performance.now();
    const outcome = await post(base, campaign, token).then(outcomeOf, (error: Error) => {
      if (error.message === 'a request hangs') throw error;
      return 'unknown' as const;
    });
    history.push({ campaign, customer: id, t0, t1: performance.now(), outcome });
    befall();
    return outcome;
  };
  const claim = async (campaign: string, customer: Customer) => {
    const bases = await urls();
    const from = randomInt(bases.length);
    const first = times(asks, (i) => ask(campaign, customer, bases[(from + i) % bases.length] as string));
    let known = (await Promise.all(first)).some((outcome) => outcome !== 'unknown');
    while (!known) known = (await ask(campaign, customer, (await urls())[0] as string)) !== 'unknown';
  };
  const waiting = people.map((customer, i) => ({ customer, isLate: i >= people.length - late }));
  const lane = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { customer, isLate } = next;
      if (isLate) await over.promise;
      await Promise.all(campaigns.map((campaign) => claim(campaign, customer)));
    }
  };
  await Promise.all([over.promise, ...times(LANES, lane)]);
  return history;
};

interface World {
  readonly name: string;
  readonly processes: number;
  readonly withRedis: boolean;
}
const worlds: readonly World[] = [
  { name: 'one process without Redis', processes: 1, withRedis: false },
  { name: 'one process with Redis', processes: 1, withRedis: true },
  { name: 'two processes with Redis', processes: 2, withRedis: true },
  { name: 'two processes without Redis', processes: 2, withRedis: false },
];

describe.each(worlds.filter(({ withRedis }) => !(withRedis && noRedis)))('$name', ({ processes, withRedis }) => {
  let redis: OwnServer | null = null;
  let env: { [name: string]: string };
  /** One that was killed is replaced at once by what comes in its place. */
  let services: Promise<Service>[];
  const live = new Set<Service>();
  const ended: Service[] = [];
  /** Of the campaigns of this world. */
  const campaigns: string[] = [];

  const startOwnRedis = async (port?: number) => {
    redis = await startRedis(port === undefined ? {} : { port });
    if (!redis) throw new Error('no redis-server on PATH');
    return redis.url;
  };
  const start = async () => {
    const service = await startService(env);
    live.add(service);
    return service;
  };
  beforeAll(async () => {
    env = {
      DATABASE_URL: database.url,
      JWT_SECRET,
      OPERATOR_API_KEY,
      ...(withRedis ? { REDIS_URL: await startOwnRedis() } : {}),
    };
    services = times(processes, start);
    await Promise.all(services);
  });
  afterAll(async () => {
    await Promise.all(services.map(async (service) => (await service).kill('SIGTERM')));
    // A failed test may have left it standing.
    if (redis && isAlive(redis.pid)) process.kill(redis.pid, 'SIGCONT');
    await redis?.stop();
  });
  afterEach(async () => {
    const all = [...ended, ...(await Promise.all(services))];
    expect(all.map(({ output }) => output()).join('')).not.toMatch(/"level":(50|60)/);
  });

  const allUrls = () => Promise.all(services.map(async (service) => (await service).url));
  const announce = async (quantity: number): Promise<string> => {
    const [url] = await allUrls();
    const { id } = await expected(
      connect(url as string, OPERATOR_API_KEY).post('/v1/campaigns', {
        name: 'Drop',
        discount: { kind: 'percent', percent: 10 },
        quantity,
        opensAt: '2026-01-01T00:00:00Z',
        closesAt: '2099-01-01T00:00:00Z',
        validDays: 30,
      }),
    );
    campaigns.push(id);
    return id;
  };

  /** History, Postgres and API of a campaign agree, once the records of refusals are written. */
  const isSound = async (id: string, history: readonly ClaimAsked[], options: { lossless?: boolean } = {}) => {
    const wrong = async () => claimContradictions(history, await campaignBooks(database.url, id), options);
    await expect.poll(wrong, { timeout: 10_000, interval: 100 }).toEqual([]);
    const { quantity, issued, coupons } = await campaignBooks(database.url, id);
    const ranks = coupons.map(({ rank }) => rank).sort((a, b) => a - b);
    for (const url of await allUrls()) {
      const { body } = await connect(url).get(`/v1/campaigns/${id}`);
      const soldOut = issued === quantity;
      expect(body).toMatchObject({ issued, remaining: quantity - issued, queued: 0, ended: soldOut });
      expect(body.status).toBe(soldOut ? 'sold_out' : 'open');
      const { items } = (await connect(url).get(`/v1/campaigns/${id}/ranking?limit=100`)).body;
      expect(items.map(({ rank }: Json) => rank)).toEqual(ranks.slice(0, 100));
      const [first, last] = [coupons.find(({ rank }) => rank === 1), coupons.find(({ rank }) => rank === issued)];
      for (const coupon of [first, last]) {
        const { token } = crowd.find((customer) => customer.id === coupon?.customer) as Customer;
        const held = await expected(connect(url, token).get('/v1/coupons?limit=100'), 200);
        expect(held.items).toContainEqual(expect.objectContaining({ id: coupon?.id, campaignId: id, rank: coupon?.rank }));
      }
    }
    return issued;
  };
  const tally = (history: readonly ClaimAsked[]) => {
    const counts: { [outcome: string]: number } = {};
    for (const { outcome } of history) {
      const name = outcome === 'unknown' ? outcome : 'issued' in outcome ? 'issued' : outcome.refused;
      counts[name] = (counts[name] ?? 0) + 1;
    }
    return counts;
  };

  const inTrouble = async (troubles: Trouble[]) => {
    const id = await announce(450);
    const history = await rush(allUrls, { campaigns: [id], people: crowd, asks: 2, troubles, late: 750 });
    expect(await isSound(id, history)).toBe(450);
    // Redis makes it fast; nobody is turned away for want of it.
    expect(tally(history).unknown).toBeUndefined();
  };
  const away = (what: string[]) =>
    until(async () => {
      const answers = await Promise.all((await allUrls()).map((url) => connect(url).get('/readyz')));
      return answers.every(({ status, body }) => status === 200 && String(body.away) === String(what));
    });
  const ask = async <T>(call: (client: Redis) => Promise<T>): Promise<T> => {
    const client = new Redis((redis as OwnServer).url);
    try {
      return await call(client);
    } finally {
      client.disconnect();
    }
  };

  if (withRedis) {
    test('a restart of Redis in the middle', async () => {
      const restart = async () => {
        const { stop, url } = redis as OwnServer;
        await stop();
        await away(['redis']);
        await startOwnRedis(Number(new URL(url).port));
        await away([]);
      };
      await inTrouble([{ after: 20 + randomInt(300), happens: restart }]);
    });

    test('FLUSHALL in the middle, again and again', async () => {
      const flush = () => ask((client) => client.flushall());
      await inTrouble([0, 1, 2].map((round) => ({ after: 20 + 150 * round + randomInt(120), happens: flush })));
    });
  }

  test('kill -9 of a process, again and again: customers ask again, and it ends with exactly the quantity', async () => {
    const id = await announce(150);
    const kill = async () => {
      const at = randomInt(processes);
      const dying = await (services[at] as Promise<Service>);
      live.delete(dying);
      ended.push(dying);
      services[at] = dying.kill('SIGKILL').then(start);
      await services[at];
    };
    // Others go on where somebody is alive.
    const alive = async () => {
      while (live.size === 0) await Promise.any(services);
      return [...live].map(({ url }) => url);
    };
    const rounds = withRedis ? [0, 1, 2] : [0, 1];
    const troubles = rounds.map((round) => ({ after: 20 + 150 * round + randomInt(120), happens: kill }));
    const history = await rush(alive, { campaigns: [id], people: crowd.slice(0, 300), asks: 3, troubles, late: 100 });
    expect(await isSound(id, history, { lossless: false })).toBe(150);
    expect(tally(history).unknown).toBeGreaterThan(0);
  });

  if (withRedis && processes === 2) {
    test('Redis stands still for 5 s in the middle', async () => {
      const stop = async () => {
        const { pid } = redis as OwnServer;
        process.kill(pid, 'SIGSTOP');
        // As long as the fault lasts; nothing is waited for.
        await delay(5_000);
        await away(['redis']);
        process.kill(pid, 'SIGCONT');
        await away([]);
      };
      await inTrouble([{ after: 20 + randomInt(300), happens: stop }]);
    });
  }

  test('450 coupons, 1,000 customers, each asking 5 times at once', async () => {
    const id = await announce(450);
    const history = await rush(allUrls, { campaigns: [id], people: crowd, asks: 5 });
    expect(await isSound(id, history)).toBe(450);
    expect(history).toHaveLength(5_000);
    const { issued, sold_out, already_claimed, ...others } = tally(history);
    expect([issued, (sold_out ?? 0) + (already_claimed ?? 0), others]).toEqual([450, 4_550, {}]);
  });

  test('120 ask for 100: 100 get one, 20 do not', async () => {
    const id = await announce(100);
    const history = await rush(allUrls, { campaigns: [id], people: crowd.slice(0, 120), asks: 1 });
    expect(await isSound(id, history)).toBe(100);
    expect(tally(history)).toEqual({ issued: 100, sold_out: 20 });
  });

  test('four campaigns at once do not disturb each other', async () => {
    const ids: string[] = [];
    for (const quantity of [1, 40, 100, 300]) ids.push(await announce(quantity));
    const history = await rush(allUrls, { campaigns: ids, people: crowd.slice(0, 200), asks: 2 });
    const issued: number[] = [];
    for (const id of ids) issued.push(await isSound(id, history));
    expect(issued).toEqual([1, 40, 100, 200]);
    expect(tally(history).unknown).toBeUndefined();
  });

  if (withRedis) {
    // Last: what killed processes and lost answers left behind has become overdue by now.
    test('at rest Redis says what Postgres says, and holds nothing back', async () => {
      const difference = async (id: string) => {
        const holders = new Set((await campaignBooks(database.url, id)).coupons.map(({ customer }) => customer));
        const key = (part: string) => `firstcome:{campaign:${id}}:${part}`;
        const [loaded, issued, reserved] = await ask((client) =>
          Promise.all([
            client.hexists(key('gate'), 'quantity'),
            client.smembers(key('issued')),
            client.zcard(key('reservations')),
          ]),
        );
        const known = new Set(issued);
        const [missing, strangers] = [holders.difference(known), known.difference(holders)];
        return { missing: loaded ? missing.size : 0, strangers: strangers.size, reserved };
      };
      const none = campaigns.map(() => ({ missing: 0, strangers: 0, reserved: 0 }));
      await expect.poll(() => Promise.all(campaigns.map(difference)), { timeout: 15_000, interval: 100 }).toEqual(none);
    });
  }
});
