import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { Lock } from '../../core/ports.ts';
import { DomainError } from '../../core/shared/refusal.ts';

/** Two handles of one lock service: two processes, in effect. */
export interface LockWorld {
  readonly lock: Lock;
  readonly other: Lock;
  close(): Promise<void>;
}

/** A new world, its locks free. `deadline`: milliseconds until `busy`. */
export type MakeLockWorld = (options: { deadline: number }) => Promise<LockWorld>;

/** Never reached by a right lock, but soon enough by one that never gives a turn. */
const PATIENT = 2_000;
/** For checks that wait for it. */
const HASTY = 200;

/** Work that has begun, and ends when `end` is called. */
export const hold = async (lock: Lock, name: string): Promise<{ fence: number; end(): Promise<void> }> => {
  const begun = Promise.withResolvers<number>();
  const ending = Promise.withResolvers<void>();
  const done = lock(name, (fence) => {
    begun.resolve(fence);
    return ending.promise;
  });
  done.catch(begun.reject);
  return {
    fence: await begun.promise,
    end() {
      ending.resolve();
      return done;
    },
  };
};

/** Lets everything run that can: many turns of the event loop. */
export const yieldOften = async () => {
  for (let i = 0; i < 5; i++) await tick();
};

const refusalOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'not refused',
    (error) => (error instanceof DomainError ? error.refusal : error),
  );

/** Every guarantee of the port, as a check that rejects when it is broken. */
export const lockChecks: Record<string, { deadline: number; check(world: LockWorld): Promise<void> }> = {
  'runs work alone among all work under the same name': {
    deadline: PATIENT,
    async check({ lock, other }) {
      // Both have been used before the race, so that all workers start together.
      await Promise.all([lock('warm', tick), other('warm', tick)]);
      let inside = 0;
      let most = 0;
      let done = 0;
      const work = async () => {
        inside += 1;
        most = Math.max(most, inside);
        await yieldOften();
        inside -= 1;
        done += 1;
      };
      await Promise.all(Array.from({ length: 50 }, (_, i) => (i % 2 ? lock : other)('one', work)));
      expect({ most, done }).toEqual({ most: 1, done: 50 });
    },
  },

  'runs work under different names at the same time': {
    deadline: PATIENT,
    async check({ lock, other }) {
      const holders = [await hold(lock, 'a'), await hold(lock, 'b'), await hold(other, 'c')];
      await Promise.all(holders.map((holder) => holder.end()));
    },
  },

  'gives the result of the work': {
    deadline: PATIENT,
    async check({ lock }) {
      const result = { some: 'thing' };
      expect(await lock('result', async () => result)).toBe(result);
    },
  },

  'passes an error through and frees the name': {
    deadline: PATIENT,
    async check({ lock, other }) {
      const error = new Error('of the work');
      await expect(lock('throws', () => Promise.reject(error))).rejects.toBe(error);
      const thrown = () => {
        throw error;
      };
      await expect(other('throws', thrown)).rejects.toBe(error);
      expect(await lock('throws', async () => 'free')).toBe('free');
    },
  },

  'lets a waiter in when the work before it has ended, and not before': {
    deadline: PATIENT,
    async check({ lock, other }) {
      const log: string[] = [];
      const first = await hold(lock, 'order');
      const waiters = [lock, other].map((waiter) => waiter('order', async () => void log.push('waiter')));
      await yieldOften();
      log.push('first ends');
      await first.end();
      await Promise.all(waiters);
      expect(log).toEqual(['first ends', 'waiter', 'waiter']);
    },
  },

  'refuses with busy when the turn takes too long to come, and does not run the work later': {
    deadline: HASTY,
    async check({ lock, other }) {
      const first = await hold(lock, 'slow');
      let ran = 0;
      const waiters = [lock, other].map((waiter) => refusalOf(waiter('slow', async () => (ran += 1))));
      expect(await Promise.all(waiters)).toEqual([{ code: 'busy' }, { code: 'busy' }]);
      await first.end();
      expect(await Promise.all([lock('slow', async () => 'free'), other('slow', async () => 'free')])).toEqual(['free', 'free']);
      expect(ran).toBe(0);
    },
  },

  'the fence rises with every grant of a name': {
    deadline: PATIENT,
    async check({ lock, other }) {
      const fences: number[] = [];
      for (let i = 0; i < 20; i++) await (i % 3 ? lock : other)('fence', async (fence) => void fences.push(fence));
      await Promise.all(
        Array.from({ length: 20 }, (_, i) => (i % 2 ? lock : other)('fence', async (fence) => void fences.push(fence))),
      );
      expect(fences).toHaveLength(40);
      expect(fences.every(Number.isSafeInteger)).toBe(true);
      expect(fences.every((fence, i) => fence > (fences[i - 1] ?? 0))).toBe(true);
    },
  },
};

export const lockContract = (name: string, make: MakeLockWorld): void => {
  describe(`${name}: the contract of Lock`, () => {
    test.each(Object.entries(lockChecks))('%s', async (_, { deadline, check }) => {
      const world = await make({ deadline });
      try {
        await check(world);
      } finally {
        await world.close();
      }
    });
  });
};
