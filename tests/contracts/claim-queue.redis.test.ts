import { randomUUID } from 'node:crypto';
import { setImmediate as tick } from 'node:timers/promises';
import { afterEach, describe, expect, inject, test, vi } from 'vitest';
import { type RedisClaimQueueOptions, redisClaimQueue } from '../../adapters/redis/claim-queue.ts';
import { connectRedis, RedisAway, type RedisConnection } from '../../adapters/redis/connection.ts';
import { Unavailable } from '../../core/shared/refusal.ts';
import { canStartRedis, signal, startOwnRedis } from '../support/redis.ts';
import { addAll, away, claim, claimQueueContract, claims, eventually, positionOf, recorder } from './claim-queue.ts';

/** Far beyond a test's own time limit: what is bounded by this does not happen in a test. */
const NEVER = 3_600_000;

/** Every connection and queue of a test ends with it. */
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});
const connected = (...connections: RedisConnection[]) =>
  vi.waitFor(() => expect(connections.every((c) => c.ready() && c.subscriber.status === 'ready')).toBe(true), 5_000);
const connect = async (url: string, prefix: string): Promise<RedisConnection> => {
  const connection = connectRedis(url, { warn() {} }, { prefix });
  open.push(connection);
  await connected(connection);
  return connection;
};

/** The same connection, whose answers can be changed. */
const tampered = (connection: RedisConnection) => {
  const tamper = { ask: connection.ask };
  const ask: RedisConnection['ask'] = (call) => tamper.ask(call);
  return { connection: { ...connection, ask }, tamper };
};

/** Two processes on one Redis, and a way to look behind. */
const pair = async (url: string, options: RedisClaimQueueOptions = {}) => {
  const prefix = `firstcome:test:${randomUUID()}:`;
  const [mine, theirs] = await Promise.all([connect(url, prefix), connect(url, prefix)]);
  const lines: string[] = [];
  const log = { warn: (fields: object, message: string) => void lines.push(`${JSON.stringify(fields)} ${message}`) };
  const settings = { redeliver: NEVER, poll: NEVER, backOff: [1, 4] as const, ...options };
  const { connection, tamper } = tampered(mine);
  const [queue, other] = [redisClaimQueue(connection, log, settings), redisClaimQueue(theirs, log, settings)];
  // In this order: a queue has something to say before its connection ends.
  open.unshift(queue, other);
  const close = async () => {
    await Promise.all([queue.close(), other.close()]);
  };
  const key = (part: string, id = 'c') => `${prefix}{campaign:${id}}:${part}`;
  return { prefix, mine, theirs, queue, other, lines, tamper, key, redis: theirs.commands, close };
};

const outcomeOf = (asked: Promise<unknown>) =>
  asked.then(
    () => 'done',
    (error) => (error instanceof Unavailable ? error.outcome : error),
  );
const empty = (queue: { size(id: string): Promise<number> }) => eventually(async () => expect(await queue.size('c')).toBe(0));

const url = inject('redisUrl');

describe.skipIf(!url)('redis', () => {
  claimQueueContract('redis', (options) => pair(url as string, { ...options, poll: 10 }));

  test('what a dead worker had begun is taken over, first and in order', async () => {
    const world = await pair(url as string, { redeliver: 100, poll: 10, batch: 4 });
    const never = Promise.withResolvers<void>();
    const dying = recorder(() => never.promise);
    await addAll(world.other, claims(10));
    world.queue.work(dying.decide);
    await eventually(() => expect(dying.begun).toHaveLength(4));
    await world.mine.close();
    const next = recorder();
    world.other.work(next.decide);
    await empty(world.other);
    expect(next.begun).toEqual(claims(10));
    never.resolve();
  });

  test('a worker that is slow but alive keeps what it has', async () => {
    const world = await pair(url as string, { redeliver: 1_000, poll: 10, batch: 4 });
    const free = Promise.withResolvers<void>();
    const slow = recorder(() => free.promise);
    await addAll(world.queue, claims(4));
    world.queue.work(slow.decide);
    await eventually(() => expect(slow.begun).toHaveLength(4));
    const eager = recorder();
    world.other.work(eager.decide);
    // Longer than the lease without renewal: it has been given anew, twice.
    let [last, renewals] = [1_000, 0];
    await eventually(async () => {
      const left = await world.redis.pttl(world.key('worker'));
      if (left > last) renewals += 1;
      last = left;
      expect(renewals).toBe(4);
    });
    expect(eager.begun).toEqual([]);
    free.resolve();
    await empty(world.queue);
    expect(eager.begun).toEqual([]);
  });

  test('a worker is woken by what is added, not by looking again', async () => {
    const world = await pair(url as string);
    const { done, decide } = recorder();
    world.other.work(decide);
    for (let n = 1; n <= 5; n++) {
      await world.queue.add(claim(n));
      await eventually(() => expect(done).toHaveLength(n));
      await eventually(async () => expect(await world.redis.exists(world.key('worker'))).toBe(0));
    }
  });

  test('what is added just when a worker finds nothing more is not overlooked', async () => {
    const world = await pair(url as string);
    const calm = world.tamper.ask;
    let added = 0;
    world.tamper.ask = async (call) => {
      const answer = await calm(call);
      // Nothing was handed out; before the worker knows it, a claim is added, and the nudge is there.
      if (Array.isArray(answer) && answer.length === 4 && answer[1].length === 0 && added < 5) {
        await world.other.add(claim(++added + 1));
        await world.mine.subscriber.ping();
      }
      return answer;
    };
    const { done, decide } = recorder();
    world.queue.work(decide);
    await world.other.add(claim(1));
    await eventually(() => expect(done).toEqual(claims(6)));
  });

  test('a lost wake-up delays a claim, no more', async () => {
    const world = await pair(url as string, { poll: 20 });
    const { done, decide } = recorder();
    world.other.work(decide);
    await world.theirs.subscriber.unsubscribe();
    await world.queue.add(claim(1));
    await eventually(() => expect(done).toHaveLength(1));
  });

  test('what is missed while the subscriber is away is found when it is back', async () => {
    const world = await pair(url as string);
    const { done, decide } = recorder();
    world.other.work(decide);
    world.theirs.subscriber.disconnect(true);
    await vi.waitFor(() => expect(world.theirs.subscriber.status).not.toBe('ready'));
    await world.queue.add(claim(1));
    await eventually(() => expect(done).toHaveLength(1));
  });

  test('a worker that stops hands over at once', async () => {
    const world = await pair(url as string, { batch: 4 });
    const free = Promise.withResolvers<void>();
    const first = recorder(() => free.promise);
    await addAll(world.queue, claims(8));
    const work = world.queue.work(first.decide);
    await eventually(() => expect(first.begun).toHaveLength(4));
    const next = recorder();
    world.other.work(next.decide);
    // It listens, has looked, and found the campaign taken.
    const channel = `${world.prefix}claim-queues:added`;
    await eventually(async () => expect((await world.redis.pubsub('NUMSUB', channel))[1]).toBe(2));
    await world.theirs.subscriber.ping();
    for (let i = 0; i < 3; i++) await world.theirs.ping();
    const stopped = work.stop();
    free.resolve();
    await stopped;
    await empty(world.other);
    expect(next.begun).toEqual(claims(8).slice(4));
  });

  test('claims whose handing out was not heard of are handed out again, in order', async () => {
    const world = await pair(url as string, { batch: 4, poll: 10 });
    await addAll(world.other, claims(12));
    const calm = world.tamper.ask;
    let lost = 0;
    world.tamper.ask = async (call) => {
      const answer = await calm(call);
      // Of whatever hands out claims.
      if (Array.isArray(answer) && answer.length === 4 && lost++ % 2 === 0) throw new RedisAway('the answer was lost');
      return answer;
    };
    const { begun, decide } = recorder();
    world.queue.work(decide);
    await empty(world.other);
    expect(lost).toBeGreaterThan(2);
    expect(begun).toEqual(claims(12));
  });

  test('commands carried out twice, the first answer lost: every claim has one place, is decided, and leaves', async () => {
    const world = await pair(url as string, { redeliver: 50, poll: 10, batch: 4, deliveries: 1_000 });
    const calm = world.tamper.ask;
    let asked = 0;
    world.tamper.ask = async (call) => {
      // All of what adds, and two of three of what works: if no answer were ever heard, nothing could be done.
      if (asked++ < 30 || asked % 3 > 0) await calm(call);
      return calm(call);
    };
    expect(await addAll(world.queue, claims(10))).toEqual(claims(10).map((_, i) => i + 1));
    expect(await world.queue.size('c')).toBe(10);
    const { done, decide } = recorder();
    world.queue.work(decide);
    await empty(world.other);
    expect(new Set(done.map(({ id }) => id)).size).toBe(10);
    expect(await world.redis.xlen(world.key('claims'))).toBe(0);
  });

  test('those that failed are handed out again before those that came after them', async () => {
    const world = await pair(url as string, { redeliver: 10, poll: 10, batch: 4, deliveries: 1_000 });
    let tries = 0;
    let batch: string[] | null = null;
    let last: string[] = [];
    const decide = async ({ id }: { readonly id: string }) => {
      // What is begun together.
      if (!batch) queueMicrotask(() => (batch = null));
      batch ??= [];
      batch.push(id);
      if (id !== claim(1).id) return tries < 2 ? Promise.reject(away()) : undefined;
      if (++tries === 1) throw new Error('of this claim');
      last = batch;
    };
    await addAll(world.queue, claims(3));
    world.queue.work(decide);
    await empty(world.queue);
    expect(last).toEqual(claims(3).map(({ id }) => id));
  });

  test('an outage counts for nothing, also when its worker dies', async () => {
    const world = await pair(url as string, { redeliver: 100, poll: 10, deliveries: 2 });
    const dying = recorder(() => Promise.reject(away()));
    await addAll(world.other, claims(3));
    world.queue.work(dying.decide);
    await eventually(() => expect(dying.begun.length).toBeGreaterThan(15));
    await world.mine.close();
    const { done, decide } = recorder();
    world.other.work(decide);
    await empty(world.other);
    expect(done).toEqual(claims(3));
  });

  test('a claim that was lost and made again does not leave with the decision on the lost one', async () => {
    const world = await pair(url as string, { poll: 10 });
    const turns = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const { begun, decide } = recorder(async (_, times) => turns[times - 1]?.promise);
    await world.queue.add(claim(1));
    world.queue.work(decide);
    await eventually(() => expect(begun).toHaveLength(1));
    await world.redis.del(world.key('claims'), world.key('queue'), world.key('queued'));
    await world.other.add(claim(1));
    turns[0]?.resolve();
    await eventually(() => expect(begun).toHaveLength(2));
    expect(await positionOf(world.other, claim(1).id)).toBe(1);
    turns[1]?.resolve();
    await empty(world.other);
    expect(begun).toEqual([claim(1), claim(1)]);
  });

  test('what is decided is acknowledged', async () => {
    const world = await pair(url as string);
    const free = Promise.withResolvers<void>();
    const { begun, decide } = recorder(() => free.promise);
    await addAll(world.queue, claims(3));
    const work = world.queue.work(decide);
    await eventually(() => expect(begun).toHaveLength(3));
    expect((await world.redis.xpending(world.key('claims'), 'workers'))[0]).toBe(3);
    // Stopped, it hands nothing out any more, which would also clear away what was deleted only.
    const stopped = work.stop();
    free.resolve();
    await stopped;
    expect((await world.redis.xpending(world.key('claims'), 'workers'))[0]).toBe(0);
  });

  test('without its group a queue goes on', async () => {
    const world = await pair(url as string, { poll: 10 });
    await addAll(world.queue, claims(3));
    const { begun, decide } = recorder();
    world.queue.work(decide);
    await empty(world.queue);
    await world.redis.xgroup('DESTROY', world.key('claims'), 'workers');
    await addAll(world.queue, claims(3));
    await empty(world.queue);
    expect(begun).toEqual([...claims(3), ...claims(3)]);
  });

  test('a parked claim is reported and kept aside', async () => {
    const world = await pair(url as string, { redeliver: 10, poll: 10, deliveries: 2 });
    world.queue.work(() => Promise.reject(new Error('of this claim')));
    await world.queue.add(claim(1));
    await empty(world.queue);
    const [entry] = await world.redis.xrange(world.key('dead'), '-', '+');
    expect(entry?.[1]).toEqual(['claim', claim(1).id, 'customer', claim(1).customerId]);
    await eventually(() => expect(world.lines.filter((line) => line.includes('parked'))).toHaveLength(1));
    expect(world.lines.filter((line) => line.includes('handed out again'))).toHaveLength(2);
  });

  test('a campaign with an empty queue is no longer looked at, until there is a claim', async () => {
    const world = await pair(url as string, { poll: 5, forget: 20 });
    const { done, decide } = recorder();
    world.queue.work(decide);
    for (let n = 1; n <= 3; n++) {
      await world.other.add(claim(n));
      await eventually(() => expect(done).toHaveLength(n));
      await eventually(async () => expect(await world.redis.exists(`${world.prefix}claim-queues`)).toBe(0));
    }
  });

  test('a campaign is not forgotten while a claim is on its way to the queue', async () => {
    const world = await pair(url as string, { poll: 5, forget: 20 });
    const { done, decide } = recorder();
    await world.queue.add(claim(1));
    const campaigns = `${world.prefix}claim-queues`;
    const [, before] = await world.redis.zrange(campaigns, '0', '-1', 'WITHSCORES');
    // Just when it would be forgotten, the next claim has announced itself.
    const calm = world.tamper.ask;
    let tries = 0;
    world.tamper.ask = async (call) => {
      const forgets = /forget/.test(String(call));
      if (forgets) await world.redis.zincrby(campaigns, 1, 'c');
      const answer = await calm(call);
      if (forgets) tries += 1;
      return answer;
    };
    const work = world.queue.work(decide);
    await eventually(() => expect(tries).toBeGreaterThan(0));
    await work.stop();
    expect(done).toHaveLength(1);
    const [, after] = await world.redis.zrange(campaigns, '0', '-1', 'WITHSCORES');
    expect(Number(after)).toBeGreaterThan(Number(before));
  });

  test('leaves no key behind that does not expire, but the list of campaigns', async () => {
    const world = await pair(url as string, { redeliver: 10, poll: 10, deliveries: 1 });
    world.queue.work(({ id }) => (id === claim(1).id ? Promise.reject(new Error('of this claim')) : tick()));
    await addAll(world.queue, claims(3));
    await empty(world.queue);
    await world.queue.close();
    await addAll(world.queue, claims(3));
    const keys = await world.redis.keys(`${world.prefix}*`);
    const parts = keys.map((name) => name.slice(world.prefix.length)).sort();
    expect(parts).toEqual([
      'claim-queues',
      ...claims(3).map(({ id }) => `claim:${id}`),
      ...['claims', 'dead', 'queue', 'queued'].map((part) => `{campaign:c}:${part}`),
    ]);
    const lasting = keys.filter((name) => !name.endsWith('claim-queues'));
    for (const name of lasting) expect(await world.redis.pttl(name)).toBeGreaterThan(0);
  });

  test('an addition that Redis refuses has changed nothing', async () => {
    const world = await pair(url as string);
    await world.redis.set(world.key('claims'), 'not a stream', 'PX', 60_000);
    expect(await outcomeOf(world.queue.add(claim(1)))).toBe('nothing_changed');
    expect(await world.queue.size('c')).toBe(0);
  });

  test('a pointer to nothing does no harm', async () => {
    const world = await pair(url as string);
    await world.redis.set(`${world.prefix}claim:${claim(1).id}`, 'c');
    expect(await world.queue.find(claim(1).id)).toBeNull();
  });
});

test('with no server nothing is queued, and that is said', async () => {
  const connection = connectRedis('redis://127.0.0.1:1', { warn() {} });
  const queue = redisClaimQueue(connection, { warn() {} });
  open.push(queue, connection);
  const asked = [queue.add(claim(1)), queue.find(claim(1).id), queue.size('c')];
  expect(await Promise.all(asked.map(outcomeOf))).toEqual(['nothing_changed', 'nothing_changed', 'nothing_changed']);
  await queue.work(() => Promise.resolve()).stop();
});

describe.skipIf(!canStartRedis)('redis in trouble', () => {
  test('all is lost in the middle of work: nobody waits any more, and new claims are decided', async () => {
    const { url } = await startOwnRedis();
    const world = await pair(url, { poll: 10, batch: 4 });
    const free = Promise.withResolvers<void>();
    const { begun, done, decide } = recorder(() => free.promise);
    await addAll(world.queue, claims(10));
    world.other.work(decide);
    await eventually(() => expect(begun).toHaveLength(4));
    await world.redis.flushall();
    expect(await world.queue.find(claim(7).id)).toBeNull();
    expect(await world.queue.size('c')).toBe(0);
    free.resolve();
    expect(await world.queue.add(claim(11))).toBe(1);
    await world.queue.add(claim(7));
    await empty(world.queue);
    expect(done.slice(4)).toEqual([claim(11), claim(7)]);
  });

  test('all is lost while nobody can decide: work goes on with what comes', async () => {
    const { url } = await startOwnRedis();
    const world = await pair(url, { poll: 10 });
    let broken = true;
    const { done, decide } = recorder(async () => {
      if (broken) throw away();
    });
    await addAll(world.queue, claims(3));
    world.other.work(decide);
    await world.redis.flushall();
    await world.queue.add(claim(4));
    broken = false;
    await empty(world.queue);
    await eventually(() => expect(done).toContainEqual(claim(4)));
  });

  test('killed and started again, empty: that is said meanwhile, and work goes on', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url, { poll: 10 });
    const { done, decide } = recorder();
    world.other.work(decide);
    await world.queue.add(claim(1));
    await empty(world.queue);
    signal(pid, 'SIGKILL');
    await vi.waitFor(() => expect([world.mine.ready(), world.theirs.ready()]).toEqual([false, false]));
    const asked = [world.queue.add(claim(2)), world.queue.find(claim(1).id), world.queue.size('c')];
    expect(await Promise.all(asked.map(outcomeOf))).toEqual(['nothing_changed', 'nothing_changed', 'nothing_changed']);
    await startOwnRedis({ port: Number(new URL(url).port) });
    await connected(world.mine, world.theirs);
    await world.queue.add(claim(2));
    await eventually(() => expect(done).toEqual([claim(1), claim(2)]));
  });

  test('stopped, neither dead nor answering: unknown is said only of what may have been queued, and all is decided afterwards', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url, { poll: 10, redeliver: 200, deliveries: 1_000 });
    const { begun, decide } = recorder();
    await addAll(world.queue, claims(3));
    // Between the two commands of an addition: the first is answered, the second is not.
    const calm = world.tamper.ask;
    world.tamper.ask = async (call) => {
      const answer = await calm(call);
      if (Array.isArray(answer)) signal(pid, 'SIGSTOP');
      return answer;
    };
    expect(await outcomeOf(world.queue.add(claim(4)))).toBe('unknown');
    world.tamper.ask = calm;
    expect(world.mine.ready()).toBe(false);
    expect(await outcomeOf(world.queue.add(claim(5)))).toBe('nothing_changed');
    world.other.work(decide);
    signal(pid, 'SIGCONT');
    await connected(world.mine, world.theirs);
    // Made again, it has one place, whatever became of the first time.
    await world.queue.add(claim(4));
    await empty(world.queue);
    expect([...new Set(begun.map(({ id }) => id))]).toEqual(claims(4).map(({ id }) => id));
  });

  test('killed in the middle of an addition, before its claim was sent: nothing has changed', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url);
    const calm = world.tamper.ask;
    world.tamper.ask = async (call) => {
      const answer = await calm(call);
      signal(pid, 'SIGKILL');
      await vi.waitFor(() => expect(world.mine.ready()).toBe(false));
      return answer;
    };
    expect(await outcomeOf(world.queue.add(claim(1)))).toBe('nothing_changed');
  });

  test('a decision that Redis did not hear of is made again, and then the claim leaves', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url, { poll: 10, redeliver: 200, deliveries: 1_000 });
    const { done, decide } = recorder(async () => {
      if (done.length === 0) signal(pid, 'SIGSTOP');
    });
    await world.queue.add(claim(1));
    world.queue.work(decide);
    await eventually(() => expect(world.mine.ready()).toBe(false));
    expect(done).toHaveLength(1);
    signal(pid, 'SIGCONT');
    await connected(world.mine, world.theirs);
    await empty(world.other);
    expect(new Set(done.map(({ id }) => id))).toEqual(new Set([claim(1).id]));
  });

  test('out of memory: nothing is queued, and that is said', async () => {
    const { url } = await startOwnRedis();
    const world = await pair(url);
    await world.queue.add(claim(1));
    await world.redis.config('SET', 'maxmemory', '1');
    expect(await outcomeOf(world.queue.add(claim(2)))).toBe('nothing_changed');
    await world.redis.config('SET', 'maxmemory', '0');
    expect(await positionOf(world.queue, claim(2).id)).toBeNull();
    expect(await world.queue.add(claim(2))).toBe(2);
  });

  test('work ends while the server is stopped', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url);
    const { begun, decide } = recorder();
    await addAll(world.queue, claims(3));
    const work = world.queue.work(async (asked) => {
      signal(pid, 'SIGSTOP');
      await decide(asked);
    });
    await eventually(() => expect(begun).toHaveLength(3));
    await work.stop();
  });
});
