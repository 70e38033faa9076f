import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, inject, test, vi } from 'vitest';
import { connectRedis, type RedisConnection } from '../../adapters/redis/connection.ts';
import { type RedisLockOptions, redisLock } from '../../adapters/redis/lock.ts';
import { DomainError } from '../../core/shared/refusal.ts';
import { canStartRedis, signal, startOwnRedis } from '../support/redis.ts';
import { hold, lockContract, yieldOften } from './lock.ts';

/** Far beyond a test's own time limit: what is bounded by this does not end a test. */
const NEVER = 3_600_000;

/** Every connection of a test ends with it. */
const open: RedisConnection[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((connection) => connection.close()));
});
const connect = async (url: string, prefix: string): Promise<RedisConnection> => {
  const connection = connectRedis(url, { warn() {} }, { prefix });
  open.push(connection);
  await connected(connection);
  return connection;
};
const connected = (...connections: RedisConnection[]) =>
  vi.waitFor(() => expect(connections.every((c) => c.ready() && c.subscriber.status === 'ready')).toBe(true), 5_000);
const newPrefix = () => `firstcome:test:${randomUUID()}:`;

/** Two processes on one Redis. */
const pair = async (url: string, options: RedisLockOptions = {}) => {
  const prefix = newPrefix();
  const [mine, theirs] = await Promise.all([connect(url, prefix), connect(url, prefix)]);
  return { prefix, mine, theirs, lock: redisLock(mine, options), other: redisLock(theirs, options) };
};
type Pair = Awaited<ReturnType<typeof pair>>;

/** Somebody has asked Redis for the name and was told to wait. */
const waiting = ({ mine, prefix }: Pair, name: string) =>
  vi.waitFor(async () => expect(await mine.commands.exists(`${prefix}lock:{${name}}:waiting`)).toBe(1));

const url = inject('redisUrl');

describe.skipIf(!url)('redis', () => {
  lockContract('redis', async (options) => {
    const world = await pair(url as string, options);
    return { ...world, close: async () => {} };
  });

  test('a waiter is woken by the release, not by looking again', async () => {
    const world = await pair(url as string, { lease: NEVER, deadline: NEVER, poll: NEVER });
    const first = await hold(world.lock, 'wake');
    const waiter = world.other('wake', async () => 'woken');
    await waiting(world, 'wake');
    await first.end();
    expect(await waiter).toBe('woken');
  });

  test('one process, however many wait there, does not starve another', async () => {
    const world = await pair(url as string, { poll: NEVER, deadline: NEVER });
    const turnsBefore: number[] = [];
    // Luck alone lets the other in early now and then, but not every time.
    for (const name of ['fair 0', 'fair 1', 'fair 2', 'fair 3', 'fair 4', 'fair 5', 'fair 6', 'fair 7']) {
      const first = await hold(world.lock, name);
      const order: string[] = [];
      const here = Array.from({ length: 200 }, () => world.lock(name, async () => void order.push('here')));
      const there = world.other(name, async () => void order.push('there'));
      await waiting(world, name);
      await first.end();
      await Promise.all([...here, there]);
      turnsBefore.push(order.indexOf('there'));
    }
    expect(Math.max(...turnsBefore)).toBeLessThan(15);
  });

  test('a lost wake-up delays a waiter, no more', async () => {
    const world = await pair(url as string, { lease: NEVER, deadline: NEVER, poll: 20 });
    const first = await hold(world.lock, 'lost');
    const waiter = world.other('lost', async () => 'found it free');
    await waiting(world, 'lost');
    await world.theirs.subscriber.unsubscribe();
    await first.end();
    expect(await waiter).toBe('found it free');
  });

  test('what is missed while the subscriber is away is found when it is back', async () => {
    const world = await pair(url as string, { lease: NEVER, deadline: NEVER, poll: NEVER });
    const first = await hold(world.lock, 'missed');
    const waiter = world.other('missed', async () => 'found it free');
    await waiting(world, 'missed');
    world.theirs.subscriber.disconnect(true);
    await vi.waitFor(() => expect(world.theirs.subscriber.status).not.toBe('ready'));
    await first.end();
    expect(await waiter).toBe('found it free');
  });

  test('a lease that ends hands over, and the late release frees nothing of the next holder', async () => {
    const world = await pair(url as string, { lease: 50, poll: NEVER });
    const late = await hold(world.lock, 'lease');
    const next = await hold(redisLock(world.theirs, { lease: NEVER, deadline: NEVER, poll: NEVER }), 'lease');
    expect(next.fence).toBeGreaterThan(late.fence);
    await late.end();
    // The release went out on this connection before: answered, it has been carried out.
    await world.mine.ping();
    const third = redisLock(await connect(url as string, world.prefix), { deadline: 50 })('lease', async () => 'ran');
    await expect(third).rejects.toThrow(DomainError);
    await next.end();
  });

  test('leaves no key behind that does not expire', async () => {
    const world = await pair(url as string, { deadline: 50 });
    const first = await hold(world.lock, 'keys');
    await expect(world.other('keys', async () => {})).rejects.toThrow(DomainError);
    const keys = ['', ':fence', ':waiting'].map((part) => `${world.prefix}lock:{keys}${part}`);
    for (const key of keys) expect(await world.mine.commands.pttl(key)).toBeGreaterThan(0);
    await first.end();
  });
});

test('with no server the work runs at once', async () => {
  const connection = connectRedis('redis://127.0.0.1:1', { warn() {} });
  open.push(connection);
  const lock = redisLock(connection, { deadline: NEVER, poll: NEVER });
  const fences = await Promise.all(Array.from({ length: 100 }, () => lock('none', async (fence) => fence)));
  expect(new Set(fences)).toEqual(new Set([0]));
  // Nor does it wait for other work of this process.
  const first = await hold(lock, 'none');
  expect(await lock('none', async (fence) => fence)).toBe(0);
  await first.end();
});

describe.skipIf(!canStartRedis)('redis in trouble', () => {
  test('all is lost while held: the next one gets it, and nothing breaks', async () => {
    const { url } = await startOwnRedis();
    const world = await pair(url, { lease: NEVER, deadline: NEVER, poll: 20 });
    const first = await hold(world.lock, 'flushed');
    const waiter = hold(world.other, 'flushed');
    await waiting(world, 'flushed');
    await world.mine.commands.flushall();
    const next = await waiter;
    expect(next.fence).toBeGreaterThan(first.fence);
    await first.end();
    await next.end();
    expect(await world.lock('flushed', async (fence) => fence)).toBeGreaterThan(next.fence);
  });

  test('forgotten scripts are sent again', async () => {
    const { url } = await startOwnRedis();
    const world = await pair(url);
    for (let i = 0; i < 3; i++) {
      await world.lock('script', async () => {});
      await world.mine.commands.script('FLUSH');
      expect(await world.lock('script', async (fence) => fence)).toBeGreaterThan(0);
    }
  });

  test('killed while some hold and some wait: all work runs', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url, { lease: NEVER, deadline: NEVER, poll: NEVER });
    const holder = await hold(world.lock, 'killed');
    const waiters = Array.from({ length: 20 }, (_, i) => (i % 2 ? world.lock : world.other)('killed', async (fence) => fence));
    await waiting(world, 'killed');
    signal(pid, 'SIGKILL');
    expect(new Set(await Promise.all(waiters))).toEqual(new Set([0]));
    await holder.end();
    expect(await world.lock('killed', async (fence) => fence)).toBe(0);
  });

  test('killed and started again: locks are granted again, and waiters are woken', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url, { lease: NEVER, deadline: NEVER, poll: NEVER });
    signal(pid, 'SIGKILL');
    await vi.waitFor(() => expect([world.mine.ready(), world.theirs.ready()]).toEqual([false, false]));
    await startOwnRedis({ port: Number(new URL(url).port) });
    await connected(world.mine, world.theirs);
    const first = await hold(world.lock, 'again');
    const waiter = world.other('again', async (fence) => fence);
    await waiting(world, 'again');
    await first.end();
    expect(await waiter).toBeGreaterThan(first.fence);
  });

  test('stopped, neither dead nor answering: all work runs, only the first pays; a grant that comes too late is given back', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url, { lease: NEVER, deadline: NEVER, poll: NEVER });
    // Far more than would fit in a test if each waited for an answer.
    const many = async () => {
      for (let i = 0; i < 200; i++) expect(await world.lock(`stopped ${i}`, async (fence) => fence)).toBe(0);
    };
    signal(pid, 'SIGSTOP');
    const together = Array.from({ length: 100 }, (_, i) => world.lock(`late ${i % 10}`, async (fence) => fence));
    expect(new Set(await Promise.all(together))).toEqual(new Set([0]));
    expect(world.mine.ready()).toBe(false);
    await many();
    signal(pid, 'SIGCONT');
    await connected(world.mine, world.theirs);
    for (let i = 0; i < 10; i++) expect(await world.other(`late ${i}`, async (fence) => fence)).toBeGreaterThan(0);
    expect(await world.lock('stopped 0', async (fence) => fence)).toBeGreaterThan(0);
  });

  test('stopped: the first command without an answer ends the wait of all, also of those asked later', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url, { lease: NEVER, deadline: NEVER, poll: NEVER });
    signal(pid, 'SIGSTOP');
    const first = world.lock('first', async (fence) => fence);
    await yieldOften();
    let ran = false;
    const later = world.lock('later', async () => {
      ran = true;
    });
    expect(await first).toBe(0);
    await yieldOften();
    expect(ran).toBe(true);
    await later;
  });

  test('stopped for so long that the connection was given up: it connects again, and waiters are woken as before', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url, { lease: NEVER, deadline: NEVER, poll: NEVER });
    // Answered after the subscription: from now on the subscriber asks nothing, so it must find out by other means.
    await world.mine.subscriber.ping();
    signal(pid, 'SIGSTOP');
    expect(await world.lock('long', async (fence) => fence)).toBe(0);
    await vi.waitFor(() => expect(world.mine.commands.status).not.toBe('ready'), 5_000);
    await vi.waitFor(() => expect(world.mine.subscriber.status).not.toBe('ready'), 5_000);
    signal(pid, 'SIGCONT');
    await connected(world.mine, world.theirs);
    const first = await hold(world.lock, 'woken');
    const waiter = world.other('woken', async (fence) => fence);
    await waiting(world, 'woken');
    await first.end();
    expect(await waiter).toBeGreaterThan(first.fence);
  }, 15_000);

  test('not allowed to subscribe: waiters look for themselves, and are woken as soon as it is allowed', async () => {
    const { url } = await startOwnRedis();
    const world = await pair(url, { lease: NEVER, deadline: NEVER, poll: 20 });
    const patient = redisLock(world.theirs, { lease: NEVER, deadline: NEVER, poll: NEVER });
    const admin = world.mine.commands;
    await admin.acl('SETUSER', 'default', '-subscribe');
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await vi.waitFor(() => expect(world.theirs.subscriber.status).not.toBe('ready'));
    await connected(world.mine, world.theirs);
    const first = await hold(world.lock, 'looks');
    const waiter = world.other('looks', async () => 'found it free');
    await waiting(world, 'looks');
    await first.end();
    expect(await waiter).toBe('found it free');

    await admin.acl('SETUSER', 'default', '+subscribe');
    const second = await hold(world.lock, 'hears');
    const listener = patient('hears', async () => 'woken');
    await waiting(world, 'hears');
    await second.end();
    expect(await listener).toBe('woken');
  });

  test('close ends while the server is stopped, and a lock still runs its work after that', async () => {
    const { url, pid } = await startOwnRedis();
    const world = await pair(url);
    signal(pid, 'SIGSTOP');
    await world.mine.close();
    expect(await world.lock('closed', async () => 'ran')).toBe('ran');
    signal(pid, 'SIGCONT');
  });

  test('close lets releases on their way finish', async () => {
    const { url } = await startOwnRedis();
    const world = await pair(url, { lease: NEVER, deadline: 1_000, poll: NEVER });
    await world.lock('last', async () => {});
    await world.mine.close();
    expect(await world.other('last', async (fence) => fence)).toBeGreaterThan(0);
  });

  test('a refused log-in is reported without the password', async () => {
    const { url } = await startOwnRedis();
    await (await connect(url, '')).commands.config('SET', 'requirepass', 'another');
    const lines: string[] = [];
    const secret = 's3cr3t-canary';
    const log = { warn: (fields: object, message: string) => void lines.push(JSON.stringify({ fields, message })) };
    open.push(connectRedis(url.replace('://', `://:${secret}@`), log));
    await vi.waitFor(() => expect(lines.join()).toContain('WRONGPASS'));
    expect(lines.join()).not.toContain(secret);
  });
});
