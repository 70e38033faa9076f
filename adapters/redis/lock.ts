import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Redis, Result } from 'ioredis';
import type { Lock } from '../../core/ports.ts';
import { DomainError, refuse } from '../../core/shared/refusal.ts';
import { RedisAway, type RedisConnection } from './connection.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    acquireLock(lock: string, fence: string, waiting: string, token: string, lease: number): Result<number, Context>;
    releaseLock(lock: string, waiting: string, token: string, channel: string, name: string): Result<number, Context>;
  }
}

/** All in milliseconds. */
export interface RedisLockOptions {
  /**
   * After this the name is free again though work may go on: it is not renewed. Shorter than the longest wait, so that whoever
   * waits for a process that was killed gets its turn. Default 2,000.
   */
  readonly lease?: number;
  /** The longest wait for a turn, then `busy`. Default 3,000. */
  readonly deadline?: number;
  /** Mean time after which a waiter looks again by itself, in case that its wake-up was lost. Default 200. */
  readonly poll?: number;
}

/** The fence of work that runs without a grant, because Redis is away. Below every real one. */
const UNGRANTED = 0;

const lua = (file: string) => readFileSync(join(import.meta.dirname, file), 'utf8');
const scripts = {
  acquireLock: { numberOfKeys: 3, lua: lua('lock-acquire.lua') },
  releaseLock: { numberOfKeys: 2, lua: lua('lock-release.lua') },
};

/**
 * A lock among all processes that share one Redis. While that is away, cut or slow, work runs at once, with fence 0.
 * Uncontended it costs one round trip: the result does not wait for the release.
 *
 * Waiters of one process queue here, oldest first, and only the first of a name asks Redis. Between processes the order
 * is a fair race, not a queue.
 */
export const redisLock = (
  connection: RedisConnection,
  { lease = 2_000, deadline = 3_000, poll = 200 }: RedisLockOptions = {},
): Lock => {
  const { commands, prefix } = connection;
  for (const [command, script] of Object.entries(scripts)) commands.defineCommand(command, script);

  const channel = `${prefix}lock:freed`;
  // The braces keep the three keys of a name on one node of a cluster.
  const key = (name: string) => `${prefix}lock:{${name}}`;

  /** Names in use here → those who wait behind the one whose turn it is; `mine` is false when the work shall run at once. */
  const queues = new Map<string, Set<(mine: boolean) => void>>();
  /** Name → wakes the one who waits for another process. */
  const wakes = new Map<string, () => void>();
  const wakeAll = () => {
    for (const wake of wakes.values()) wake();
  };
  connection.listen(channel, { heard: (name) => wakes.get(name)?.(), subscribed: wakeAll });
  connection.onAway(() => {
    for (const queue of queues.values()) {
      for (const go of queue) go(false);
      queue.clear();
    }
    wakeAll();
  });

  const turn = (name: string): Promise<boolean> | boolean => {
    const queue = queues.get(name);
    if (!queue) {
      queues.set(name, new Set());
      return true;
    }
    return new Promise((resolve, reject) => {
      const go = (mine: boolean) => {
        clearTimeout(timer);
        resolve(mine);
      };
      const timer = setTimeout(() => {
        queue.delete(go);
        reject(new DomainError({ code: 'busy' }));
      }, deadline);
      queue.add(go);
    });
  };

  const acquire = async (name: string, token: string, until: number): Promise<number> => {
    const lock = key(name);
    for (;;) {
      // Listening begins before asking: a release after the answer is never missed.
      const freed = Promise.withResolvers<void>();
      wakes.set(name, freed.resolve);
      const answer = await connection.ask((redis) => redis.acquireLock(lock, `${lock}:fence`, `${lock}:waiting`, token, lease));
      if (answer > 0) return answer;
      const left = until - performance.now();
      if (left <= 0) return refuse({ code: 'busy' });
      const timer = setTimeout(freed.resolve, Math.min(left, 1 - answer, poll * (0.5 + Math.random())));
      await freed.promise;
      clearTimeout(timer);
    }
  };

  /** Ends a turn, granted or not: after a time-out the grant may still come, and this follows it on the same connection. */
  const leave = async (name: string, token: string): Promise<void> => {
    wakes.delete(name);
    const lock = key(name);
    const release = (redis: Redis) => redis.releaseLock(lock, `${lock}:waiting`, token, channel, name);
    try {
      const woken = await (connection.ready() ? connection.ask(release) : release(commands));
      // Let the others go first: the next of this process would be faster every time, and they would starve.
      if (woken) await pause(1 + 3 * Math.random());
    } catch (error) {
      // The lease ends it.
      if (connection.ready()) connection.report(error, 'lock not released');
    }
    const queue = queues.get(name);
    const [next] = queue ?? [];
    if (!next) return void queues.delete(name);
    queue?.delete(next);
    next(true);
  };

  return async (name, work) => {
    if (!connection.ready()) return work(UNGRANTED);
    const until = performance.now() + deadline;
    if (!(await turn(name))) return work(UNGRANTED);
    const token = randomUUID();
    try {
      const fence = await acquire(name, token, until).catch((error) => {
        if (error instanceof DomainError) throw error;
        if (!(error instanceof RedisAway)) connection.report(error, 'lock not granted');
        return UNGRANTED;
      });
      return await work(fence);
    } finally {
      void leave(name, token);
    }
  };
};
