import { expect, test } from 'vitest';
import { memoryLock } from '../../adapters/memory/lock.ts';
import { hold, lockContract } from './lock.ts';

lockContract('memory', async (options) => {
  const lock = memoryLock(options);
  return { lock, other: lock, close: async () => {} };
});

test('first come, first served', async () => {
  const lock = memoryLock();
  const first = await hold(lock, 'queue');
  const order: number[] = [];
  const waiters = [1, 2, 3, 4, 5].map((i) => lock('queue', async () => void order.push(i)));
  await first.end();
  await Promise.all(waiters);
  expect(order).toEqual([1, 2, 3, 4, 5]);
});
