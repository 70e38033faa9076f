import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import type { Gate } from '../../core/ports.ts';

/** What decides, behind the gate: the part of the books that a gate is a copy of. */
export const claimBooks = () => {
  const campaigns = new Map<string, { quantity: number; customers: Set<string> }>();
  const known = (id: string) => campaigns.get(id) ?? { quantity: 0, customers: new Set<string>() };
  let loads = 0;
  return {
    create: (id: string, quantity: number) => void campaigns.set(id, { quantity, customers: new Set() }),
    /** A backup is restored: these have a coupon, and nobody else. */
    restore: (id: string, ...customers: string[]) =>
      void campaigns.set(id, { quantity: known(id).quantity, customers: new Set(customers) }),
    issued: (id: string): readonly string[] => [...known(id).customers],
    /** Decides a claim. */
    claim(id: string, customer: string): 'issued' | 'already_claimed' | 'sold_out' {
      const { quantity, customers } = known(id);
      if (customers.has(customer)) return 'already_claimed';
      if (customers.size >= quantity) return 'sold_out';
      customers.add(customer);
      return 'issued';
    },
    loads: () => loads,
    load: async (id: string) => {
      loads += 1;
      const campaign = campaigns.get(id);
      const truth = campaign ? { quantity: campaign.quantity, customers: [...campaign.customers] } : null;
      // Time in which claims go on.
      await tick();
      return truth;
    },
    issuedCount: async (id: string) => campaigns.get(id)?.customers.size ?? null,
    issuedTo: async (id: string, customers: readonly string[]) => customers.filter((one) => known(id).customers.has(one)),
  };
};
export type ClaimBooks = ReturnType<typeof claimBooks>;

/** Two handles of one gate: two processes, in effect. */
export interface GateWorld {
  readonly gate: Gate;
  readonly other: Gate;
  readonly books: ClaimBooks;
  /** What was settled until now has arrived. */
  settled(): Promise<void>;
  /** Reservations made until now become overdue. */
  expire(): Promise<void>;
  close(): Promise<void>;
}
export type MakeGateWorld = () => Promise<GateWorld>;

type Admission = Awaited<ReturnType<Gate['admit']>>;
export const PASSES: Admission = { sequence: null };
export const SOLD_OUT: Admission = { refused: 'sold_out' };
export const CLAIMED: Admission = { refused: 'already_claimed' };
export const sequenceOf = (admission: Admission): number => ('sequence' in admission ? (admission.sequence ?? 0) : 0);

/** Asks until the gate gives what is expected; it may take its time to get to know. */
export const until = (ask: () => Promise<Admission>, expected: (admission: Admission) => boolean) =>
  vi.waitFor(
    async () => {
      const admission = await ask();
      expect(expected(admission), JSON.stringify(admission)).toBe(true);
      return admission;
    },
    { timeout: 3_000, interval: 5 },
  );

/** Both know the campaign, and nobody holds a reservation. Gives the last sequence. */
export const opened = async (
  { gate, other, books, settled }: Pick<GateWorld, 'gate' | 'other' | 'books' | 'settled'>,
  id: string,
  quantity: number,
) => {
  books.create(id, quantity);
  let last = 0;
  for (const one of [gate, other]) {
    const admission = await until(
      () => one.admit(id, 'scout'),
      (admission) => sequenceOf(admission) > 0,
    );
    last = sequenceOf(admission);
    one.settle(id, 'scout', 'returned');
    await settled();
  }
  return last;
};

/** The gate's answer to a customer who then leaves. */
export const peek = async (gate: Gate, id: string, customer: string): Promise<Admission> => {
  const admission = await gate.admit(id, customer);
  if ('sequence' in admission) gate.settle(id, customer, 'returned');
  return admission;
};

export const customers = (count: number, name = 'customer') => Array.from({ length: count }, (_, i) => `${name} ${i}`);

/** A claim as the core makes it: the decision, or the gate's final no, and whether that is wrong. */
export const claimThrough = async (gate: Gate, books: ClaimBooks, id: string, customer: string) => {
  const admission = await gate.admit(id, customer);
  if ('refused' in admission) {
    const truth = books.issued(id).includes(customer) ? 'already_claimed' : books.claim(id, customer);
    return admission.refused === truth ? truth : `${admission.refused}, but ${truth}`;
  }
  await tick();
  const decision = books.claim(id, customer);
  gate.settle(id, customer, decision === 'sold_out' ? 'returned' : 'issued');
  return decision;
};

/** All coupons are issued, one each, and every no was true. */
export const expectAllIssued = (decisions: readonly string[], books: ClaimBooks, id: string, quantity: number) => {
  expect([...new Set(decisions)].sort()).toEqual(['already_claimed', 'issued', 'sold_out']);
  expect(decisions.filter((decision) => decision === 'issued')).toHaveLength(quantity);
  expect(books.issued(id)).toHaveLength(quantity);
};

/** Every guarantee of the port, as a check that rejects when it is broken. */
export const gateChecks: Record<string, (world: GateWorld) => Promise<void>> = {
  'lets claims on a campaign pass that it does not know': async ({ gate, other }) => {
    for (let i = 0; i < 5; i++) {
      expect(await gate.admit('unknown', 'ann')).toEqual(PASSES);
      expect(await other.admit('unknown', 'bob')).toEqual(PASSES);
      await tick();
    }
  },

  'makes as many reservations as there is stock, and lets the others pass without one': async (world) => {
    await opened(world, 'c', 20);
    const asked = customers(50).map((customer, i) => (i % 2 ? world.gate : world.other).admit('c', customer));
    const admissions = await Promise.all(asked);
    expect(admissions.filter((admission) => sequenceOf(admission) > 0)).toHaveLength(20);
    expect(admissions.filter((admission) => 'refused' in admission)).toEqual([]);
  },

  'the sequence rises with each reservation': async (world) => {
    const sequences = [await opened(world, 'c', 100)];
    for (const [i, customer] of customers(50).entries()) {
      sequences.push(sequenceOf(await (i % 3 ? world.gate : world.other).admit('c', customer)));
    }
    const together = await Promise.all(customers(50, 'late').map((customer) => world.gate.admit('c', customer)));
    sequences.push(...together.map(sequenceOf));
    expect(sequences.every((sequence, i) => sequence > (sequences[i - 1] ?? 0))).toBe(true);
  },

  'makes one reservation for a customer, however often and wherever it asks': async (world) => {
    await opened(world, 'c', 2);
    const asked = Array.from({ length: 20 }, (_, i) => (i % 2 ? world.gate : world.other).admit('c', 'ann'));
    const admissions = await Promise.all(asked);
    expect(admissions.filter((admission) => sequenceOf(admission) > 0)).toHaveLength(1);
    expect(admissions.filter((admission) => 'refused' in admission)).toEqual([]);
    expect(sequenceOf(await world.other.admit('c', 'bob'))).toBeGreaterThan(0);
  },

  'refuses whom a coupon was issued, and nobody else': async (world) => {
    await opened(world, 'c', 5);
    expect(await claimThrough(world.gate, world.books, 'c', 'ann')).toBe('issued');
    await world.settled();
    expect(await world.other.admit('c', 'ann')).toEqual(CLAIMED);
    expect(sequenceOf(await world.other.admit('c', 'bob'))).toBeGreaterThan(0);
    expect(await world.gate.admit('c', 'bob')).toEqual(PASSES);
  },

  'what is returned can be had again': async (world) => {
    await opened(world, 'c', 1);
    let last = sequenceOf(await world.gate.admit('c', 'ann'));
    for (const [i, customer] of customers(5).entries()) {
      const [here, there] = i % 2 ? [world.gate, world.other] : [world.other, world.gate];
      expect(await here.admit('c', customer)).toEqual(PASSES);
      there.settle('c', customers(5)[i - 1] ?? 'ann', 'returned');
      await world.settled();
      const next = sequenceOf(await here.admit('c', customer));
      expect(next).toBeGreaterThan(last);
      last = next;
    }
  },

  'says sold out only when every coupon is issued': async (world) => {
    await opened(world, 'c', 2);
    await world.gate.admit('c', 'ann');
    await world.gate.admit('c', 'bob');
    expect(await world.other.admit('c', 'eve')).toEqual(PASSES);
    world.books.claim('c', 'ann');
    world.gate.settle('c', 'ann', 'issued');
    await world.settled();
    expect(await world.other.admit('c', 'eve')).toEqual(PASSES);
    world.books.claim('c', 'bob');
    world.gate.settle('c', 'bob', 'issued');
    await world.settled();
    expect(await world.other.admit('c', 'eve')).toEqual(SOLD_OUT);
    expect(await world.other.admit('c', 'ann')).toEqual(CLAIMED);
  },

  'counts a coupon that was issued without a reservation': async (world) => {
    await opened(world, 'c', 2);
    await world.gate.admit('c', 'ann');
    await world.gate.admit('c', 'bob');
    expect(await world.gate.admit('c', 'eve')).toEqual(PASSES);
    for (const [customer, outcome] of [
      ['eve', 'issued'],
      ['ann', 'issued'],
      ['bob', 'returned'],
    ] as const) {
      world.gate.settle('c', customer, outcome);
    }
    await world.settled();
    expect(await world.other.admit('c', 'eve')).toEqual(CLAIMED);
    expect(await world.other.admit('c', 'bob')).toEqual(SOLD_OUT);
  },

  'an issue is final: returning afterwards, or settling twice, changes nothing': async (world) => {
    await opened(world, 'c', 2);
    await world.gate.admit('c', 'ann');
    for (const outcome of ['issued', 'issued', 'returned', 'returned'] as const) {
      world.gate.settle('c', 'ann', outcome);
      await world.settled();
    }
    expect(await world.other.admit('c', 'ann')).toEqual(CLAIMED);
    const two = await Promise.all([world.gate.admit('c', 'bob'), world.gate.admit('c', 'eve')]);
    expect(two.map(sequenceOf).filter((sequence) => sequence > 0)).toHaveLength(1);
  },

  'knows what was issued before it knew the campaign': async ({ gate, other, books }) => {
    books.create('c', 3);
    books.claim('c', 'ann');
    books.claim('c', 'bob');
    await until(
      () => gate.admit('c', 'ann'),
      (admission) => 'refused' in admission && admission.refused === 'already_claimed',
    );
    expect(await other.admit('c', 'bob')).toEqual(CLAIMED);
    expect(sequenceOf(await other.admit('c', 'eve'))).toBeGreaterThan(0);
    expect(await gate.admit('c', 'dan')).toEqual(PASSES);
  },

  'a reservation that nobody settles comes back, and the sequence rises on': async (world) => {
    await opened(world, 'c', 1);
    const lost = sequenceOf(await world.gate.admit('c', 'ann'));
    await world.expire();
    const next = await until(
      () => world.other.admit('c', 'bob'),
      (admission) => sequenceOf(admission) > 0,
    );
    expect(sequenceOf(next)).toBeGreaterThan(lost);
  },

  'a reservation that nobody settles counts when its coupon was issued': async (world) => {
    await opened(world, 'c', 1);
    await world.gate.admit('c', 'ann');
    expect(world.books.claim('c', 'ann')).toBe('issued');
    await world.expire();
    await until(
      () => world.other.admit('c', 'bob'),
      (admission) => 'refused' in admission && admission.refused === 'sold_out',
    );
    expect(await world.gate.admit('c', 'ann')).toEqual(CLAIMED);
  },

  'campaigns know nothing of each other': async (world) => {
    await opened(world, 'a', 1);
    await opened(world, 'b', 1);
    expect(await claimThrough(world.gate, world.books, 'a', 'ann')).toBe('issued');
    await world.settled();
    expect(await world.gate.admit('a', 'bob')).toEqual(SOLD_OUT);
    expect(sequenceOf(await world.gate.admit('b', 'ann'))).toBeGreaterThan(0);
  },

  'a rush, unknown at first: all is issued, one each, and every no is true': async ({ gate, other, books }) => {
    books.create('c', 40);
    const askers = customers(100).flatMap((customer) => [customer, customer, customer, customer, customer]);
    const decisions: Promise<string>[] = [];
    for (const [i, customer] of askers.entries()) {
      decisions.push(claimThrough(i % 2 ? gate : other, books, 'c', customer));
      if (i % 7 === 0) await tick();
    }
    expectAllIssued(await Promise.all(decisions), books, 'c', 40);
    await until(
      () => gate.admit('c', 'late'),
      (admission) => 'refused' in admission && admission.refused === 'sold_out',
    );
  },
};

export const gateContract = (name: string, make: MakeGateWorld): void => {
  describe(`${name}: the contract of Gate`, () => {
    test.each(Object.entries(gateChecks))('%s', async (_, check) => {
      const world = await make();
      try {
        await check(world);
      } finally {
        await world.close();
      }
    });
  });
};
