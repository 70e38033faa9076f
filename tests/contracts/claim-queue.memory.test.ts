import { expect, test } from 'vitest';
import { memoryClaimQueue } from '../../adapters/memory/claim-queue.ts';
import { addAll, claim, claimQueueContract, claims, eventually } from './claim-queue.ts';

claimQueueContract('memory', async (options) => {
  const queue = memoryClaimQueue({ backOff: [1, 4], ...options });
  return { queue, other: queue, close: queue.close };
});

test('a parked claim is reported, without a word too many', async () => {
  const lines: string[] = [];
  const log = { warn: (_: object, message: string) => void lines.push(message) };
  const queue = memoryClaimQueue({ redeliver: 1, deliveries: 2, log });
  queue.work(() => Promise.reject(new Error('of this claim')));
  await queue.add(claim(1));
  await eventually(async () => expect(await queue.size('c')).toBe(0));
  expect(lines).toEqual([
    'claim not decided; it is handed out again',
    'claim not decided; it is handed out again',
    'claim parked: it could not be decided; it can be made again',
  ]);
  await queue.close();
});

test('a long queue knows its positions', async () => {
  const queue = memoryClaimQueue();
  await addAll(queue, claims(5_000));
  for (const n of [1, 2, 2_499, 2_500, 4_999, 5_000]) expect((await queue.find(claim(n).id))?.position).toBe(n);
});
