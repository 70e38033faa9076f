import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { memoryGate } from '../../adapters/memory/gate.ts';
import type { Gate } from '../../core/ports.ts';
import { CLAIMED, type ClaimBooks, claimBooks, gateChecks, PASSES, SOLD_OUT } from './gate.ts';

interface Parts {
  readonly right: Gate;
  readonly books: ClaimBooks;
  readonly now: () => number;
}

const DUPLICATE = 'makes one reservation for a customer, however often and wherever it asks';
const CLAIMED_ONLY = 'refuses whom a coupon was issued, and nobody else';
const ALL_ISSUED = 'says sold out only when every coupon is issued';
const UNKNOWN = 'lets claims on a campaign pass that it does not know';
const LOST = 'a reservation that nobody settles comes back, and the sequence rises on';
const RUSH = 'a rush, unknown at first: all is issued, one each, and every no is true';

/** The gate of many a public example: a counter that is decremented, then a set that the customer is put into. */
const decrementThenInsert = ({ load }: ClaimBooks): Gate => {
  const campaigns = new Map<string, { left: number; customers: Set<string> }>();
  let sequence = 0;
  return {
    async admit(id, customer) {
      if (!campaigns.has(id)) {
        const truth = await load(id);
        if (!truth) return PASSES;
        const left = truth.quantity - truth.customers.length;
        if (!campaigns.has(id)) campaigns.set(id, { left, customers: new Set(truth.customers) });
      }
      const campaign = campaigns.get(id) as { left: number; customers: Set<string> };
      if (campaign.customers.has(customer)) return CLAIMED;
      if (campaign.left <= 0) return SOLD_OUT;
      campaign.left -= 1;
      // Whoever dies here takes the slot along.
      await tick();
      campaign.customers.add(customer);
      return { sequence: ++sequence };
    },
    settle(id, customer, outcome) {
      if (outcome === 'returned' && campaigns.get(id)?.customers.delete(customer))
        (campaigns.get(id) as { left: number }).left += 1;
    },
  };
};

/** A gate with a bug (two, when the processes have one each), and the guarantees that it breaks. */
const bugs: Record<string, { breaks: readonly string[]; make(parts: Parts): Gate | readonly [Gate, Gate] }> = {
  'decrements and inserts apart': {
    breaks: [ALL_ISSUED, LOST, RUSH, DUPLICATE],
    make: ({ books }) => decrementThenInsert(books),
  },
  'has no duplicate check': {
    breaks: [DUPLICATE, CLAIMED_ONLY],
    make({ right }) {
      let count = 0;
      return { ...right, admit: (id, customer) => right.admit(id, `${customer}, ask ${++count}`) };
    },
  },
  'takes a missing key for sold out': {
    breaks: [UNKNOWN, RUSH],
    make: ({ right, books }) => {
      const known = new Set<string>();
      return {
        ...right,
        async admit(id, customer) {
          if (known.has(id)) return right.admit(id, customer);
          if (await books.load(id)) known.add(id);
          return SOLD_OUT;
        },
      };
    },
  },
  'is not shared by the processes': {
    breaks: ['makes as many reservations as there is stock, and lets the others pass without one', DUPLICATE],
    make: ({ right, books, now }) => [right, memoryGate({ ...books, now })],
  },
  'numbers by a clock': {
    breaks: ['the sequence rises with each reservation'],
    make: ({ right }) => ({
      ...right,
      async admit(id, customer) {
        const admission = await right.admit(id, customer);
        return 'sequence' in admission && admission.sequence ? { sequence: Math.floor(performance.now()) + 1 } : admission;
      },
    }),
  },
  'says sold out when all is reserved': {
    breaks: [ALL_ISSUED, RUSH],
    make({ right }) {
      return {
        ...right,
        async admit(id, customer) {
          const admission = await right.admit(id, customer);
          return 'sequence' in admission && admission.sequence === null ? SOLD_OUT : admission;
        },
      };
    },
  },
  'gives nothing back': {
    breaks: ['what is returned can be had again'],
    make: ({ right }) => ({
      ...right,
      settle: (id, customer, outcome) => outcome === 'issued' && right.settle(id, customer, outcome),
    }),
  },
  'does not count what it made no reservation for': {
    breaks: ['counts a coupon that was issued without a reservation'],
    make({ right }) {
      const reserved = new Set<string>();
      return {
        async admit(id, customer) {
          const admission = await right.admit(id, customer);
          if ('sequence' in admission && admission.sequence) reserved.add(customer);
          return admission;
        },
        settle: (id, customer, outcome) => reserved.has(customer) && right.settle(id, customer, outcome),
      };
    },
  },
  'takes an issue back': {
    breaks: ['an issue is final: returning afterwards, or settling twice, changes nothing'],
    make({ right }) {
      const back = new Set<string>();
      return {
        async admit(id, customer) {
          const admission = await right.admit(id, customer);
          return 'refused' in admission && back.has(customer) ? PASSES : admission;
        },
        settle(id, customer, outcome) {
          right.settle(id, customer, outcome);
          if (outcome === 'returned') back.add(customer);
        },
      };
    },
  },
  'starts with all the stock': {
    breaks: ['knows what was issued before it knew the campaign'],
    make: ({ books, now }) =>
      memoryGate({
        now,
        load: async (id) => {
          const truth = await books.load(id);
          return truth && { ...truth, customers: [] };
        },
      }),
  },
  'keeps reservations for ever': {
    breaks: [LOST],
    make: ({ books, now }) => memoryGate({ ...books, now, reservationTtl: Number.POSITIVE_INFINITY }),
  },
  'gives back what is overdue without asking the books': {
    breaks: ['a reservation that nobody settles counts when its coupon was issued'],
    make({ books, now }) {
      const truths = new Map<string, ReturnType<ClaimBooks['load']>>();
      const load = (id: string) => {
        const truth = truths.get(id) ?? books.load(id);
        truths.set(id, truth);
        return truth;
      };
      return memoryGate({ load, now });
    },
  },
  'has one stock for all campaigns': {
    breaks: ['campaigns know nothing of each other'],
    make: ({ right }) => ({
      admit: (_, customer) => right.admit('a', customer),
      settle: (_, customer, outcome) => right.settle('a', customer, outcome),
    }),
  },
};

describe('the contract of Gate finds a gate that', () => {
  const cases = Object.entries(bugs).flatMap(([bug, { breaks, make }]) => breaks.map((broken) => ({ bug, broken, make })));
  test.concurrent.each(cases)('$bug: $broken', async ({ broken, make }) => {
    const books = claimBooks();
    let now = 1_000_000;
    const parts = { books, now: () => now, right: memoryGate({ load: books.load, now: () => now }) };
    const [gate, other] = [make(parts)].flat() as [Gate, Gate?];
    const expire = async () => {
      now += 60_000;
    };
    const world = { gate, other: other ?? gate, books, settled: tick, expire, close: async () => {} };
    // Not with `rejects`: of tests that run together, it may fail another one.
    const found = await (gateChecks[broken] as (typeof gateChecks)[string])(world).then(
      () => false,
      () => true,
    );
    expect(found).toBe(true);
  });

  test('every check finds at least one of them', () => {
    expect(new Set(cases.map(({ broken }) => broken))).toEqual(new Set(Object.keys(gateChecks)));
  });
});
