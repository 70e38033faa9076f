import { setImmediate as tick } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { memoryGate } from '../../adapters/memory/gate.ts';
import { CLAIMED, claimBooks, gateContract, PASSES, sequenceOf, until } from './gate.ts';

const makeWorld = async () => {
  const books = claimBooks();
  let now = 1_000_000;
  const gate = memoryGate({ load: books.load, now: () => now, reservationTtl: 5_000 });
  return {
    gate,
    other: gate,
    books,
    settled: tick,
    expire: async () => {
      now += 5_000;
    },
    advance: (milliseconds: number) => {
      now += milliseconds;
    },
    close: async () => {},
  };
};

gateContract('memory', makeWorld);

test('an unknown campaign is loaded once, however many claims come', async () => {
  const { gate, books } = await makeWorld();
  books.create('c', 10);
  const first = await Promise.all(Array.from({ length: 100 }, (_, i) => gate.admit('c', `customer ${i}`)));
  expect(first).toEqual(first.map(() => PASSES));
  await until(
    () => gate.admit('c', 'ann'),
    (admission) => sequenceOf(admission) > 0,
  );
  expect(books.loads()).toBe(1);
});

test('a load that fails is tried again with the next claim', async () => {
  const books = claimBooks();
  books.create('c', 10);
  let failures = 3;
  const load = (id: string) => (failures-- > 0 ? Promise.reject(new Error('Postgres is away')) : books.load(id));
  const gate = memoryGate({ load, now: () => 0 });
  await until(
    () => gate.admit('c', 'ann'),
    (admission) => sequenceOf(admission) > 0,
  );
});

test('a coupon issued while the campaign is loaded is not forgotten', async () => {
  const { gate, books } = await makeWorld();
  books.create('c', 10);
  const before = await books.load('c');
  const reading = Promise.withResolvers<typeof before>();
  const slow = memoryGate({ load: () => reading.promise, now: () => 0 });
  expect(await slow.admit('c', 'ann')).toEqual(PASSES);
  slow.settle('c', 'ann', 'issued');
  reading.resolve(before);
  await until(
    () => slow.admit('c', 'bob'),
    (admission) => sequenceOf(admission) > 0,
  );
  expect(await slow.admit('c', 'ann')).toEqual(CLAIMED);
  expect(await gate.admit('c', 'bob')).toEqual(PASSES);
});

test('a campaign that was not claimed for long is forgotten, and loaded again when it is', async () => {
  const { gate, books, advance } = await makeWorld();
  books.create('old', 1);
  books.claim('old', 'ann');
  const claimed = () =>
    until(
      () => gate.admit('old', 'ann'),
      (admission) => 'refused' in admission,
    );
  await claimed();
  await claimed();
  expect(books.loads()).toBe(1);
  advance(2 * 3_600_000);
  await gate.admit('new', 'ann');
  expect(await gate.admit('old', 'ann')).toEqual(PASSES);
  await claimed();
  expect(books.loads()).toBe(3);
});
