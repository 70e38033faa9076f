import { setImmediate as tick } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import type { QueuedClaim } from '../../core/coupon/claim.ts';
import type { ClaimQueue } from '../../core/ports.ts';
import { Unavailable } from '../../core/shared/refusal.ts';

/** Two handles of one queue: two processes, in effect. */
export interface ClaimQueueWorld {
  readonly queue: ClaimQueue;
  readonly other: ClaimQueue;
  /** Ends all work. */
  close(): Promise<void>;
}
export interface ClaimQueueWish {
  /** Milliseconds until a claim that failed is handed out again. */
  readonly redeliver: number;
  readonly deliveries?: number;
  readonly batch?: number;
}
export type MakeClaimQueueWorld = (options: ClaimQueueWish) => Promise<ClaimQueueWorld>;

/** Nothing is handed out again in a test's time. */
const NEVER = 3_600_000;
const SOON = 10;

export const eventually = (check: () => unknown) => vi.waitFor(check, { timeout: 5_000, interval: 5 });
export const claim = (n: number, campaignId = 'c'): QueuedClaim => ({
  id: `${campaignId}: claim ${n}`,
  campaignId,
  customerId: `customer ${n}`,
});
/** Claims from 1 to `count`. */
export const claims = (count: number, campaignId = 'c') => Array.from({ length: count }, (_, i) => claim(i + 1, campaignId));

/** One after the other; gives their positions. */
export const addAll = async (queue: ClaimQueue, added: readonly QueuedClaim[]) => {
  const positions: number[] = [];
  for (const one of added) positions.push(await queue.add(one));
  return positions;
};
export const positionOf = async (queue: ClaimQueue, id: string) => (await queue.find(id))?.position ?? null;
export const away = () => new Unavailable('Postgres is away', 'nothing_changed');

/** Decides as `outcome` says and keeps what was begun and what was done, in order. */
export const recorder = (outcome: (claim: QueuedClaim, times: number) => Promise<unknown> = () => tick()) => {
  const begun: QueuedClaim[] = [];
  const done: QueuedClaim[] = [];
  return {
    begun,
    done,
    decide: async (asked: QueuedClaim) => {
      begun.push(asked);
      await outcome(asked, begun.filter(({ id }) => id === asked.id).length);
      done.push(asked);
    },
  };
};
const firstOnly = (all: readonly QueuedClaim[]) => [...new Map(all.map((one) => [one.id, one])).values()];

/** A history of a queue: claims that are added at some time, and what comes of each try to decide them. */
const histories = fc.record({
  batch: fc.integer({ min: 1, max: 4 }),
  steps: fc.array(fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constant('turn' as const)), { minLength: 5, maxLength: 40 }),
  outcomes: fc.array(fc.array(fc.constantFrom('done', 'fails', 'away'), { maxLength: 4 }), { minLength: 13, maxLength: 13 }),
});

/** A position that grew, as text; null when none did. */
const growth = async (
  make: () => Promise<ClaimQueueWorld>,
  { steps, outcomes }: typeof histories extends fc.Arbitrary<infer T> ? T : never,
) => {
  const { queue, other, close } = await make();
  const added = new Set<number>();
  const decided = new Set<number>();
  const last = new Map<number, number>();
  const decide = async ({ id }: QueuedClaim) => {
    await tick();
    const n = Number(id.split(' ').at(-1));
    const outcome = outcomes[n]?.shift() ?? 'done';
    if (outcome === 'fails') throw new Error('of this claim');
    if (outcome === 'away') throw away();
    decided.add(n);
  };
  queue.work(decide);
  other.work(decide);
  try {
    for (const step of [...steps, ...Array<'turn'>(5).fill('turn')]) {
      if (step === 'turn') await tick();
      else if (!decided.has(step)) {
        const position = await (step % 2 ? queue : other).add(claim(step));
        // Decided in between, it may have come to the end of the queue again.
        if (!decided.has(step)) {
          if (position > (last.get(step) ?? position)) return `claim ${step}: ${last.get(step)} → ${position}, made again`;
          added.add(step);
          last.set(step, position);
        }
      }
      for (const n of added) {
        const position = await positionOf(queue, claim(n).id);
        if (position === null || decided.has(n)) continue;
        if (position > (last.get(n) as number)) return `claim ${n}: ${last.get(n)} → ${position}`;
        last.set(n, position);
      }
    }
    await eventually(async () => expect(await queue.size('c')).toBe(0));
    const forgotten = [...added].filter((n) => !decided.has(n));
    return forgotten.length > 0 ? `not decided: ${forgotten}` : null;
  } finally {
    await close();
  }
};

interface Check {
  readonly options: ClaimQueueWish;
  check(world: ClaimQueueWorld, make: MakeClaimQueueWorld, histories?: number): Promise<void>;
}

/** Every guarantee of the port, as a check that rejects when it is broken. */
export const claimQueueChecks: Record<string, Check> = {
  'gives positions, and knows who waits': {
    options: { redeliver: NEVER },
    async check({ queue, other }) {
      expect(await addAll(queue, claims(3))).toEqual([1, 2, 3]);
      expect(await other.add(claim(4))).toBe(4);
      expect(await other.find(claim(2).id)).toEqual({ ...claim(2), position: 2 });
      expect(await queue.find('never came')).toBeNull();
      expect([await queue.size('c'), await queue.size('none')]).toEqual([4, 0]);
    },
  },

  'a claim that waits keeps its place when it is made again': {
    options: { redeliver: NEVER },
    async check({ queue, other }) {
      await addAll(queue, claims(3));
      expect(await Promise.all([queue.add(claim(1)), other.add(claim(1)), other.add(claim(2))])).toEqual([1, 1, 2]);
      expect(await queue.size('c')).toBe(3);
      const { begun, decide } = recorder();
      queue.work(decide);
      await eventually(async () => expect(await queue.size('c')).toBe(0));
      expect(begun).toEqual(claims(3));
    },
  },

  'hands out all, in the order in which they came, and then nobody waits': {
    options: { redeliver: NEVER, batch: 16 },
    async check({ queue, other }) {
      const added = await Promise.all(
        claims(150).map(async (one, i) => ({ one, position: await (i % 2 ? queue : other).add(one) })),
      );
      const order = added.sort((a, b) => a.position - b.position);
      expect(order.map(({ position }) => position)).toEqual(claims(150).map((_, i) => i + 1));
      const { begun, decide } = recorder();
      other.work(decide);
      await eventually(async () => expect(await queue.size('c')).toBe(0));
      expect(begun).toEqual(order.map(({ one }) => one));
      expect(await queue.find(claim(1).id)).toBeNull();
    },
  },

  'hands out what is added to an idle queue, and to a busy one': {
    options: { redeliver: NEVER, batch: 2 },
    async check({ queue, other }) {
      const { begun, done, decide } = recorder();
      queue.work(decide);
      for (let n = 1; n <= 40; n++) {
        await other.add(claim(n));
        if (n % 10 === 0) await eventually(() => expect(done).toHaveLength(n));
      }
      expect(begun).toEqual(claims(40));
    },
  },

  'a claim waits until it is decided, and can be made again when it is': {
    options: { redeliver: NEVER },
    async check({ queue, other }) {
      const decided = Promise.withResolvers<void>();
      const { begun, decide } = recorder(({ id }) => (id === claim(1).id ? decided.promise : tick()));
      await queue.add(claim(1));
      queue.work(decide);
      await eventually(() => expect(begun).toHaveLength(1));
      expect(await other.find(claim(1).id)).toEqual({ ...claim(1), position: 1 });
      decided.resolve();
      await eventually(async () => expect(await positionOf(other, claim(1).id)).toBeNull());
      await other.add(claim(1));
      await eventually(() => expect(begun).toEqual([claim(1), claim(1)]));
    },
  },

  'a claim whose decision fails is handed out again, and the others go on meanwhile': {
    options: { redeliver: SOON, deliveries: 1_000, batch: 2 },
    async check({ queue }) {
      let others = 0;
      const { done, decide } = recorder(async ({ id }) => {
        await tick();
        if (id !== claim(1).id) others += 1;
        else if (others < 6) throw new Error('of this claim');
      });
      await addAll(queue, claims(7));
      queue.work(decide);
      await eventually(async () => expect(await queue.size('c')).toBe(0));
      expect(firstOnly(done)).toHaveLength(7);
    },
  },

  'a claim whose decision failed is not handed out again at once, and keeps its place': {
    options: { redeliver: NEVER, deliveries: 1_000 },
    async check({ queue }) {
      const { begun, done, decide } = recorder(async ({ id }) => {
        if (id === claim(1).id) throw new Error('of this claim');
      });
      queue.work(decide);
      for (let n = 1; n <= 6; n++) {
        await queue.add(claim(n));
        await eventually(async () => expect(await queue.size('c')).toBe(1));
        await eventually(() => expect(begun).toHaveLength(n));
      }
      expect(done).toEqual(claims(6).slice(1));
      expect(await positionOf(queue, claim(1).id)).toBe(1);
    },
  },

  'a claim that cannot be decided is parked in the end, and can be made again': {
    options: { redeliver: SOON, deliveries: 3 },
    async check({ queue, other }) {
      let broken = true;
      const { begun, done, decide } = recorder(async ({ id }) => {
        if (broken && id === claim(2).id) throw new Error('of this claim');
      });
      await addAll(queue, claims(3));
      queue.work(decide);
      await eventually(async () => expect(await queue.size('c')).toBe(0));
      expect(begun.filter(({ id }) => id === claim(2).id)).toHaveLength(3);
      expect(firstOnly(done)).toEqual([claim(1), claim(3)]);
      expect(await other.find(claim(2).id)).toBeNull();
      broken = false;
      await other.add(claim(2));
      await eventually(() => expect(done).toContainEqual(claim(2)));
    },
  },

  'while nobody can decide, all wait in order, and no claim is parked for it': {
    options: { redeliver: SOON, deliveries: 2, batch: 3 },
    async check({ queue }) {
      let triedInVain = 0;
      const { begun, done, decide } = recorder(async (_, times) => {
        if (times < 6) throw away();
        triedInVain ||= new Set(begun.map(({ id }) => id)).size;
      });
      await addAll(queue, claims(9));
      queue.work(decide);
      await eventually(async () => expect(await queue.size('c')).toBe(0));
      expect(done).toEqual(claims(9));
      expect(triedInVain).toBe(3);
      for (const one of claims(9)) expect(begun.filter(({ id }) => id === one.id)).toHaveLength(6);
    },
  },

  'one claim for which the server is always away does not hold up the others': {
    options: { redeliver: SOON, deliveries: 2, batch: 3 },
    async check({ queue }) {
      let others = 0;
      const { done, decide } = recorder(async ({ id }) => {
        if (id !== claim(1).id) others += 1;
        else if (others < 8) throw away();
      });
      await addAll(queue, claims(9));
      queue.work(decide);
      await eventually(async () => expect(await queue.size('c')).toBe(0));
      expect(firstOnly(done)).toHaveLength(9);
    },
  },

  'campaigns do not hold up each other': {
    options: { redeliver: NEVER, batch: 4 },
    async check({ queue, other }) {
      const free = Promise.withResolvers<void>();
      const { done, decide } = recorder(({ campaignId }) => (campaignId === 'slow' ? free.promise : tick()));
      await addAll(queue, claims(10, 'slow'));
      await addAll(other, [...claims(10, 'a'), ...claims(10, 'b')]);
      queue.work(decide);
      await eventually(() => expect(done).toHaveLength(20));
      expect(await queue.size('slow')).toBe(10);
      free.resolve();
      await eventually(() => expect(done).toHaveLength(30));
      for (const id of ['slow', 'a', 'b']) expect(done.filter((one) => one.campaignId === id)).toEqual(claims(10, id));
    },
  },

  'several workers decide each claim once between them, and do not overtake each other': {
    options: { redeliver: NEVER, batch: 4 },
    async check({ queue, other }) {
      // The first of each four are the slowest.
      const { begun, done, decide } = recorder(async ({ id }) => {
        for (let i = Number(id.split(' ').at(-1)) % 4; i < 4; i++) await tick();
      });
      const working: Record<string, number[]> = { a: [], b: [] };
      const overtaken: QueuedClaim[] = [];
      for (const [worker, handle] of [queue, other, queue].entries()) {
        handle.work(async (asked) => {
          const workers = working[asked.campaignId] as number[];
          if (workers.some((one) => one !== worker)) overtaken.push(asked);
          workers.push(worker);
          await decide(asked);
          workers.splice(workers.indexOf(worker), 1);
        });
      }
      await Promise.all([addAll(queue, claims(60, 'a')), addAll(other, claims(60, 'b'))]);
      await eventually(() => expect(done).toHaveLength(120));
      await eventually(async () => expect([await queue.size('a'), await queue.size('b')]).toEqual([0, 0]));
      for (const id of ['a', 'b']) expect(begun.filter((one) => one.campaignId === id)).toEqual(claims(60, id));
      expect(overtaken).toEqual([]);
    },
  },

  'stop finishes what is begun and begins nothing; the rest is for the next worker': {
    options: { redeliver: NEVER, batch: 4 },
    async check({ queue, other }) {
      const free = Promise.withResolvers<void>();
      const first = recorder(() => free.promise);
      await addAll(queue, claims(10));
      const work = queue.work(first.decide);
      await eventually(() => expect(first.begun).toHaveLength(4));
      const stopped = work.stop();
      free.resolve();
      await stopped;
      expect(first.done).toEqual(claims(4));
      expect(await queue.size('c')).toBe(6);
      await addAll(other, claims(12).slice(10));
      for (let i = 0; i < 20; i++) await tick();
      expect(await queue.size('c')).toBe(8);
      const next = recorder();
      other.work(next.decide);
      await eventually(async () => expect(await queue.size('c')).toBe(0));
      expect(first.begun).toEqual(claims(4));
      expect(next.begun).toEqual(claims(12).slice(4));
    },
  },

  'a worker that stops hands over to one that is at work already': {
    options: { redeliver: NEVER, batch: 4 },
    async check({ queue, other }) {
      const free = Promise.withResolvers<void>();
      const first = recorder(() => free.promise);
      await addAll(queue, claims(10));
      const work = queue.work(first.decide);
      await eventually(() => expect(first.begun).toHaveLength(4));
      const next = recorder();
      other.work(next.decide);
      await other.add(claim(11));
      const stopped = work.stop();
      free.resolve();
      await stopped;
      await eventually(async () => expect(await queue.size('c')).toBe(0));
      expect(next.begun).toEqual(claims(11).slice(4));
    },
  },

  'stopped while nobody can decide, it leaves all to the next worker': {
    options: { redeliver: NEVER, batch: 4 },
    async check({ queue, other }) {
      const first = recorder(() => Promise.reject(away()));
      await addAll(queue, claims(6));
      const work = queue.work(first.decide);
      await eventually(() => expect(first.begun.length).toBeGreaterThanOrEqual(4));
      await work.stop();
      expect(await queue.size('c')).toBe(6);
      const next = recorder();
      other.work(next.decide);
      await eventually(async () => expect(await queue.size('c')).toBe(0));
      expect(next.begun).toEqual(claims(6));
    },
  },

  'a position never grows, and nothing is forgotten': {
    options: { redeliver: SOON },
    async check(_, make, runs = 15) {
      const property = fc.asyncProperty(histories, async (history) => {
        const world = () => make({ redeliver: SOON, deliveries: 1_000, batch: history.batch });
        expect(await growth(world, history)).toBeNull();
      });
      await fc.assert(property, { numRuns: runs, interruptAfterTimeLimit: 8_000 });
    },
  },
};

export const claimQueueContract = (name: string, make: MakeClaimQueueWorld): void => {
  describe(`${name}: the contract of ClaimQueue`, () => {
    test.each(Object.entries(claimQueueChecks))('%s', async (_, { options, check }) => {
      const world = await make(options);
      try {
        await check(world, make);
      } finally {
        await world.close();
      }
    });
  });
};
