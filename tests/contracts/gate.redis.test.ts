import { randomUUID } from 'node:crypto';
import { setImmediate as tick } from 'node:timers/promises';
import { afterEach, describe, expect, inject, test, vi } from 'vitest';
import { connectRedis, type RedisConnection } from '../../adapters/redis/connection.ts';
import { type RedisGateOptions, redisGate } from '../../adapters/redis/gate.ts';
import type { Gate } from '../../core/ports.ts';
import { canStartRedis, signal, startOwnRedis } from '../support/redis.ts';
import {
  CLAIMED,
  type ClaimBooks,
  claimBooks,
  claimThrough,
  customers,
  expectAllIssued,
  gateContract,
  opened,
  PASSES,
  peek,
  SOLD_OUT,
  sequenceOf,
  until,
} from './gate.ts';

/** Far beyond a test's own time limit: what is bounded by this does not happen in a test. */
const NEVER = 3_600_000;

/** Every connection and gate of a test ends with it. */
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
});
const connected = (...connections: RedisConnection[]) =>
  vi.waitFor(() => expect(connections.every((connection) => connection.ready())).toBe(true), 5_000);
const connect = async (url: string, prefix: string): Promise<RedisConnection> => {
  const connection = connectRedis(url, { warn() {} }, { prefix });
  open.push(connection);
  await connected(connection);
  return connection;
};

/** The connection, how often it was asked, and how much of it is under way. While `twice`, each answer is lost and asked again. */
const watched = (connection: RedisConnection) => {
  const calls = { count: 0, underWay: 0, twice: false };
  const ask: RedisConnection['ask'] = async (call) => {
    calls.count += 1;
    calls.underWay += 1;
    try {
      if (calls.twice) await connection.ask(call);
      return await connection.ask(call);
    } finally {
      calls.underWay -= 1;
    }
  };
  return { connection: { ...connection, ask }, calls };
};

type Options = Partial<RedisGateOptions>;

/** Two processes on one Redis, and a way to look behind. */
const pair = async (url: string, options: Options = {}, books: ClaimBooks = claimBooks()) => {
  const prefix = `firstcome:test:${randomUUID()}:`;
  const raw = await Promise.all([connect(url, prefix), connect(url, prefix)]);
  const [mine, theirs] = [watched(raw[0]), watched(raw[1])];
  const { load, issuedCount, issuedTo } = books;
  const settings = { load, issuedCount, issuedTo, reservationTtl: NEVER, reconcileEvery: NEVER, ...options };
  const [gate, other] = [redisGate(mine.connection, settings), redisGate(theirs.connection, settings)];
  // In this order: a gate sends what it has to say before its connection ends.
  open.unshift(gate, other);
  const key = (id: string, part: string) => `${prefix}{campaign:${id}}:${part}`;
  return {
    prefix,
    gate,
    other,
    books,
    raw,
    calls: mine.calls,
    key,
    redis: raw[0].commands,
    reserved: (id: string) => raw[0].commands.zcard(key(id, 'reservations')),
    settled: async () => {
      do await tick();
      while (mine.calls.underWay + theirs.calls.underWay > 0);
    },
    close: async () => {},
  };
};

const reconciling = { reconcileEvery: 10, reservationTtl: NEVER };
const refusedAs = (expected: typeof SOLD_OUT) => (admission: Awaited<ReturnType<Gate['admit']>>) =>
  JSON.stringify(admission) === JSON.stringify(expected);

const url = inject('redisUrl');

describe.skipIf(!url)('redis', () => {
  /** Reservations are made older rather than waited for; what is not overdue stays whatever time the machine takes. */
  const makeWorld = async (options: Options = {}) => {
    const world = await pair(url as string, { reconcileEvery: 10, reservationTtl: 60_000, ...options });
    const expire = async () => {
      for (const id of ['a', 'b', 'c']) {
        const key = world.key(id, 'reservations');
        for (const customer of await world.redis.zrange(key, '0', '-1')) await world.redis.zincrby(key, -60_000, customer);
      }
    };
    return { ...world, expire };
  };
  gateContract('redis', makeWorld);

  test('claims that come together share calls', async () => {
    const world = await pair(url as string);
    await opened(world, 'c', 10);
    const before = world.calls.count;
    const first = world.gate.admit('c', 'first');
    await Promise.resolve();
    const rest = customers(100).map((customer) => world.gate.admit('c', customer));
    const admissions = await Promise.all([first, ...rest]);
    expect(admissions.filter((admission) => sequenceOf(admission) > 0)).toHaveLength(10);
    expect(world.calls.count - before).toBe(2);
    for (const customer of customers(100)) world.gate.settle('c', customer, 'returned');
    await world.settled();
    expect(world.calls.count - before).toBe(3);
  });

  test('they are admitted in the order in which they came', async () => {
    const world = await pair(url as string);
    await opened(world, 'c', 700);
    const order: string[] = [];
    const asked = customers(1_200).map((customer) =>
      world.gate.admit('c', customer).then((admission) => {
        if (sequenceOf(admission) > 0) order.push(customer);
      }),
    );
    await Promise.all(asked);
    expect(order).toEqual(customers(700));
  });

  test('campaigns do not wait for each other', async () => {
    const world = await pair(url as string);
    await opened(world, 'a', 1);
    await opened(world, 'b', 1);
    const held = Promise.withResolvers<void>();
    let asked = 0;
    const ask: RedisConnection['ask'] = async (call) => {
      const answer = await world.raw[0].ask(call);
      if (++asked === 1) await held.promise;
      return answer;
    };
    const slow = redisGate({ ...world.raw[0], ask }, { ...world.books, reconcileEvery: NEVER });
    open.unshift(slow);
    const first = slow.admit('a', 'ann');
    expect(sequenceOf(await slow.admit('b', 'ann'))).toBeGreaterThan(0);
    held.resolve();
    expect(sequenceOf(await first)).toBeGreaterThan(0);
  });

  test('each command carried out twice: as many reservations as there is stock, and none is lost', async () => {
    const world = await pair(url as string, reconciling);
    await opened(world, 'c', 10);
    world.calls.twice = true;
    expect(await world.gate.admit('c', 'scout')).toEqual(PASSES);
    await Promise.all(customers(30).map((customer) => world.gate.admit('c', customer)));
    expect(await world.reserved('c')).toBe(10);
    world.gate.settle('c', 'scout', 'returned');
    for (const customer of customers(9)) world.gate.settle('c', customer, 'returned');
    await world.settled();
    expect(await world.reserved('c')).toBe(0);
    await Promise.all(customers(30).map((customer) => claimThrough(world.gate, world.books, 'c', customer)));
    expect(world.books.issued('c')).toHaveLength(10);
    await until(() => world.other.admit('c', 'late'), refusedAs(SOLD_OUT));
  });

  test('a new reservation of the same customer is not given back for the old one', async () => {
    const asked = Promise.withResolvers<void>();
    const answered = Promise.withResolvers<void>();
    const books = claimBooks();
    const issuedTo: ClaimBooks['issuedTo'] = async (id, those) => {
      asked.resolve();
      await answered.promise;
      return books.issuedTo(id, those);
    };
    const world = await pair(url as string, { reconcileEvery: 10, reservationTtl: 60_000, issuedTo }, books);
    await opened(world, 'c', 1);
    await world.gate.admit('c', 'ann');
    await world.redis.zincrby(world.key('c', 'reservations'), -60_000, 'ann');
    await asked.promise;
    // Settled after all, and asked for again, while the reconciler still thinks of the first.
    world.other.settle('c', 'ann', 'returned');
    await vi.waitFor(async () => expect(await world.reserved('c')).toBe(0));
    expect(sequenceOf(await world.other.admit('c', 'ann'))).toBeGreaterThan(0);
    answered.resolve();
    await world.settled();
    expect(await world.reserved('c')).toBe(1);
  });

  test('an issue that the gate never heard of is found', async () => {
    const world = await pair(url as string, reconciling);
    await opened(world, 'c', 2);
    world.books.claim('c', 'ann');
    world.books.claim('c', 'bob');
    await until(() => peek(world.gate, 'c', 'ann'), refusedAs(CLAIMED));
    expect(await world.other.admit('c', 'eve')).toEqual(SOLD_OUT);
  });

  test('coupons that the books no longer know are forgotten', async () => {
    const world = await pair(url as string, reconciling);
    await opened(world, 'c', 2);
    for (const customer of ['ann', 'bob']) await claimThrough(world.gate, world.books, 'c', customer);
    await until(() => world.gate.admit('c', 'eve'), refusedAs(SOLD_OUT));
    world.books.restore('c', 'ann');
    await until(
      () => world.gate.admit('c', 'bob'),
      (admission) => sequenceOf(admission) > 0,
    );
    expect(await world.gate.admit('c', 'ann')).toEqual(CLAIMED);
  });

  test('a campaign is loaded once, however many processes and claims want it', async () => {
    const world = await pair(url as string);
    world.books.create('c', 1_000);
    for (const customer of customers(900, 'holder')) world.books.claim('c', customer);
    const both = [world.gate, world.other];
    const first = await Promise.all(both.flatMap((gate) => customers(50).map((customer) => gate.admit('c', customer))));
    expect(first).toEqual(first.map(() => PASSES));
    await until(() => world.other.admit('c', 'holder 899'), refusedAs(CLAIMED));
    expect(world.books.loads()).toBe(1);
    expect(await world.redis.scard(world.key('c', 'issued'))).toBe(900);
  });

  test('nobody waits for a load, and it is not asked for again meanwhile', async () => {
    const books = claimBooks();
    const free = Promise.withResolvers<void>();
    const load: ClaimBooks['load'] = async (id) => {
      await free.promise;
      return books.load(id);
    };
    const world = await pair(url as string, { load }, books);
    books.create('c', 1);
    for (const customer of customers(10)) expect(await world.gate.admit('c', customer)).toEqual(PASSES);
    // One for each claim, and one for the guard of the load.
    expect(world.calls.count).toBe(11);
    free.resolve();
    await until(
      () => world.gate.admit('c', 'ann'),
      (admission) => sequenceOf(admission) > 0,
    );
  });

  test('a campaign that does not exist is not asked for with each claim', async () => {
    const world = await pair(url as string);
    for (let i = 0; i < 20; i++) {
      expect(await world.gate.admit('none', `customer ${i}`)).toEqual(PASSES);
      await world.settled();
    }
    expect(world.books.loads()).toBe(1);
  });

  test('what is lost while it is loaded is loaded again', async () => {
    const books = claimBooks();
    const world = await pair(url as string, { load: books.load }, books);
    books.create('c', 2_000);
    for (const customer of customers(1_500, 'holder')) books.claim('c', customer);
    // The first part of the load is lost as soon as it is there.
    const held = { ...world.raw[0] };
    let lost = false;
    held.ask = async (call) => {
      const answer = await world.raw[0].ask(call);
      if (!lost && (await world.redis.exists(world.key('c', 'issued')))) {
        lost = true;
        await world.redis.del(world.key('c', 'issued'));
      }
      return answer;
    };
    const gate = redisGate(held, { ...books, reconcileEvery: NEVER });
    open.unshift(gate);
    await until(() => gate.admit('c', 'holder 0'), refusedAs(CLAIMED));
    expect(lost).toBe(true);
    expect(books.loads()).toBe(2);
    expect(await world.redis.scard(world.key('c', 'issued'))).toBe(1_500);
  });

  test('a load that fails lets claims pass and is tried again', async () => {
    const books = claimBooks();
    let failures = 1;
    const load: ClaimBooks['load'] = (id) => (failures-- > 0 ? Promise.reject(new Error('Postgres is away')) : books.load(id));
    const world = await pair(url as string, { load }, books);
    books.create('c', 1);
    expect(await world.gate.admit('c', 'ann')).toEqual(PASSES);
    await world.settled();
    expect(await world.gate.admit('c', 'ann')).toEqual(PASSES);
    await vi.waitFor(() => expect(failures).toBe(0));
    await world.redis.del(world.key('c', 'loading'));
    await until(
      () => world.gate.admit('c', 'ann'),
      (admission) => sequenceOf(admission) > 0,
    );
  });

  test('leaves no key behind that does not expire', async () => {
    const world = await pair(url as string);
    await opened(world, 'c', 3);
    await claimThrough(world.gate, world.books, 'c', 'ann');
    await world.gate.admit('c', 'bob');
    await world.settled();
    const keys = await world.redis.keys(`${world.prefix}*`);
    expect(keys.map((key) => key.split(':').at(-1)).sort()).toEqual(['gate', 'issued', 'reservations']);
    for (const key of keys) expect(await world.redis.pttl(key)).toBeGreaterThan(0);
  });

  test('keys of a campaign share a slot', async () => {
    const world = await pair(url as string);
    await opened(world, 'c', 3);
    await claimThrough(world.gate, world.books, 'c', 'ann');
    for (const key of await world.redis.keys(`${world.prefix}*`)) expect(key).toContain('{campaign:c}');
  });

  test('what is settled before the end is sent', async () => {
    const world = await pair(url as string);
    await opened(world, 'c', 2);
    for (const customer of ['ann', 'bob']) {
      world.gate.settle('c', customer, 'issued');
      await Promise.resolve();
    }
    await world.gate.close();
    await world.raw[0].close();
    expect(await world.other.admit('c', 'eve')).toEqual(SOLD_OUT);
  });
});

test('with no server all pass at once', async () => {
  const connection = connectRedis('redis://127.0.0.1:1', { warn() {} });
  const gate = redisGate(connection, { ...claimBooks(), reconcileEvery: 1 });
  open.push(gate, connection);
  expect(await Promise.all(customers(100).map((customer) => gate.admit('c', customer)))).toEqual(
    customers(100).map(() => PASSES),
  );
  gate.settle('c', 'ann', 'issued');
});

describe.skipIf(!canStartRedis)('redis in trouble', () => {
  test('all is lost: nobody is refused wrongly, the campaign is loaded again, the sequence rises on', async () => {
    const { url } = await startOwnRedis();
    const world = await pair(url, reconciling);
    await opened(world, 'c', 3);
    await claimThrough(world.gate, world.books, 'c', 'ann');
    // Sequences above what the books can tell: most of these never get a coupon.
    let last = 0;
    for (const customer of customers(20)) {
      last = sequenceOf(await world.gate.admit('c', customer));
      world.gate.settle('c', customer, 'returned');
      await world.settled();
    }
    await world.redis.flushall();
    expect(await world.gate.admit('c', 'ann')).toEqual(PASSES);
    const next = await until(
      () => world.other.admit('c', 'bob'),
      (admission) => sequenceOf(admission) > 0,
    );
    expect(last).toBeGreaterThan(0);
    expect(sequenceOf(next)).toBeGreaterThan(last);
    expect(await world.gate.admit('c', 'ann')).toEqual(CLAIMED);
    expect(sequenceOf(await world.gate.admit('c', 'eve'))).toBeGreaterThan(sequenceOf(next));
    expect(await world.gate.admit('c', 'dan')).toEqual(PASSES);
  });

  test('all is lost again and again in the middle of a rush: all is issued, one each, and every no is true', async () => {
    const { url } = await startOwnRedis();
    const world = await pair(url, reconciling);
    world.books.create('c', 60);
    const decisions: Promise<string>[] = [];
    for (const [i, customer] of customers(300).entries()) {
      for (const gate of [world.gate, world.other, world.gate]) {
        decisions.push(claimThrough(gate, world.books, 'c', customer));
      }
      if (i % 5 === 0) await tick();
      if (i % 50 === 0) await world.redis.flushall();
    }
    expectAllIssued(await Promise.all(decisions), world.books, 'c', 60);
    await until(() => world.gate.admit('c', 'late'), refusedAs(SOLD_OUT));
  });

  test('parts are lost, as a server short of memory would: nobody is refused wrongly', async () => {
    const { url } = await startOwnRedis();
    const world = await pair(url, reconciling);
    await opened(world, 'c', 2);
    for (const customer of ['ann', 'bob']) await claimThrough(world.gate, world.books, 'c', customer);
    await world.settled();
    for (const part of ['issued', 'gate', 'reservations']) {
      expect(await world.gate.admit('c', 'eve')).toEqual(SOLD_OUT);
      await world.redis.del(world.key('c', part));
      await until(() => peek(world.gate, 'c', 'eve'), refusedAs(SOLD_OUT));
    }
  });

  test('forgotten scripts are sent again', async () => {
    const { url } = await startOwnRedis();
    const world = await pair(url);
    await opened(world, 'c', 10);
    await world.redis.script('FLUSH');
    expect(sequenceOf(await world.gate.admit('c', 'ann'))).toBeGreaterThan(0);
  });

  test('out of memory: claims pass', async () => {
    const { url } = await startOwnRedis();
    const world = await pair(url);
    await opened(world, 'c', 10);
    await world.redis.config('SET', 'maxmemory', '1');
    expect(await world.gate.admit('c', 'ann')).toEqual(PASSES);
    await world.redis.config('SET', 'maxmemory', '0');
    expect(sequenceOf(await world.gate.admit('c', 'ann'))).toBeGreaterThan(0);
  });

  test('stopped, neither dead nor answering: all pass, only the first pay, and it is a gate again afterwards', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url, { reconcileEvery: 10, reservationTtl: 50 });
    await opened(world, 'c', 1);
    signal(pid, 'SIGSTOP');
    const together = customers(100).map((customer, i) => (i % 2 ? world.gate : world.other).admit('c', customer));
    expect(await Promise.all(together)).toEqual(together.map(() => PASSES));
    // Far more than would fit in a test if each waited for an answer.
    for (const customer of customers(500)) expect(await world.gate.admit('c', customer)).toEqual(PASSES);
    world.books.claim('c', 'ann');
    world.gate.settle('c', 'ann', 'issued');
    signal(pid, 'SIGCONT');
    // What was asked before is carried out now, with nobody to hear of it: its reservation has to come back.
    await until(() => world.other.admit('c', 'eve'), refusedAs(SOLD_OUT));
    expect(await world.gate.admit('c', 'ann')).toEqual(CLAIMED);
  });

  test('killed and started again, empty: all pass meanwhile, and the campaign is loaded again', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url, reconciling);
    await opened(world, 'c', 2);
    await claimThrough(world.gate, world.books, 'c', 'ann');
    signal(pid, 'SIGKILL');
    expect(await world.gate.admit('c', 'ann')).toEqual(PASSES);
    await vi.waitFor(() => expect(world.raw.map((connection) => connection.ready())).toEqual([false, false]));
    expect(await claimThrough(world.other, world.books, 'c', 'bob')).toBe('issued');
    await startOwnRedis({ port: Number(new URL(url).port) });
    await connected(...world.raw);
    await until(() => world.gate.admit('c', 'eve'), refusedAs(SOLD_OUT));
  });

  test('ends while the server is stopped', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url, reconciling);
    await opened(world, 'c', 2);
    signal(pid, 'SIGSTOP');
    const last = world.gate.admit('c', 'ann');
    world.gate.settle('c', 'ann', 'issued');
    await world.gate.close();
    expect(await last).toEqual(PASSES);
  });
});
