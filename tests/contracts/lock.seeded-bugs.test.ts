import { describe, expect, test } from 'vitest';
import { memoryLock } from '../../adapters/memory/lock.ts';
import type { Lock } from '../../core/ports.ts';
import { DomainError } from '../../core/shared/refusal.ts';
import { lockChecks } from './lock.ts';

/** A lock with a bug, made of a right one, and the guarantee that it breaks. */
const bugs: Record<string, { breaks: string; make(right: Lock, deadline: number): Lock }> = {
  'always grants': {
    breaks: 'runs work alone among all work under the same name',
    make: () => (_, work) => work(1),
  },
  'is not shared by the processes': {
    breaks: 'runs work alone among all work under the same name',
    make: (_, deadline) => memoryLock({ deadline }),
  },
  'frees the name before the work has ended': {
    breaks: 'lets a waiter in when the work before it has ended, and not before',
    make: (right) => async (name, work) => {
      const result = await right(name, async (fence) => [work(fence)] as const);
      return result[0];
    },
  },
  'has one name for all': {
    breaks: 'runs work under different names at the same time',
    make: (right) => (_, work) => right('all', work),
  },
  'drops the result': {
    breaks: 'gives the result of the work',
    make:
      (right) =>
      async <T>(name: string, work: (fence: number) => Promise<T>) =>
        right(name, async (fence) => {
          await work(fence);
          return undefined as T;
        }),
  },
  'swallows errors': {
    breaks: 'passes an error through and frees the name',
    make: (right) => (name, work) => right(name, (fence) => work(fence).catch(() => undefined as never)),
  },
  'keeps the name after an error': {
    breaks: 'passes an error through and frees the name',
    make(right) {
      const stuck = new Set<string>();
      return (name, work) =>
        right(name, async (fence) => {
          if (stuck.has(name)) throw new DomainError({ code: 'busy' });
          stuck.add(name);
          const result = await work(fence);
          stuck.delete(name);
          return result;
        });
    },
  },
  'refuses with an error that is no refusal': {
    breaks: 'refuses with busy when the turn takes too long to come, and does not run the work later',
    make: (right) => (name, work) =>
      right(name, work).catch((error) => {
        throw error instanceof DomainError ? new Error('timeout') : error;
      }),
  },
  'runs refused work later': {
    breaks: 'refuses with busy when the turn takes too long to come, and does not run the work later',
    make(_, deadline) {
      const endless = memoryLock();
      return (name, work) => {
        const { promise, reject } = Promise.withResolvers<never>();
        setTimeout(() => reject(new DomainError({ code: 'busy' })), deadline);
        return Promise.race([endless(name, work), promise]);
      };
    },
  },
  'gives every grant the same fence': {
    breaks: 'the fence rises with every grant of a name',
    make: (right) => (name, work) => right(name, () => work(1)),
  },
  'counts the fence in each process': {
    breaks: 'the fence rises with every grant of a name',
    make(right) {
      let fence = 0;
      return (name, work) => right(name, () => work(++fence));
    },
  },
};

describe('the contract of Lock finds a lock that', () => {
  test.each(Object.entries(bugs))('%s', async (_, { breaks, make }) => {
    const { deadline, check } = lockChecks[breaks] as (typeof lockChecks)[string];
    const right = memoryLock({ deadline });
    const world = { lock: make(right, deadline), other: make(right, deadline), close: async () => {} };
    await expect(check(world)).rejects.toThrow();
  });

  test('every check finds at least one of them', () => {
    expect(new Set(Object.values(bugs).map(({ breaks }) => breaks))).toEqual(new Set(Object.keys(lockChecks)));
  });
});
