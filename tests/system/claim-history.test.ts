import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type CampaignBooks, type ClaimAsked, claimContradictions } from '../support/claim-history.ts';

type Claim = CampaignBooks['claims'][number];
const ask = (customer: string, t0: number, outcome: ClaimAsked['outcome'], t1 = t0 + 1): ClaimAsked => ({
  campaign: 'drop',
  customer,
  t0,
  t1,
  outcome,
});
const soldOut = { refused: 'sold_out' };
const again = { refused: 'already_claimed' };

const issuedTo = (customer: string, rank: number, attempts = 1): Claim => ({
  customer,
  decision: 'issued',
  reason: null,
  rank,
  couponId: `coupon-${rank}`,
  attempts,
});
const refusedTo = (customer: string, attempts = 1): Claim => ({
  customer,
  decision: 'refused',
  reason: 'sold_out',
  rank: null,
  couponId: null,
  attempts,
});
/** Sound books: coupons for `holders`, in order; the claim records follow from them unless they are given. */
const booksOf = (quantity: number, holders: readonly string[], more: Partial<CampaignBooks> = {}): CampaignBooks => ({
  id: 'drop',
  quantity,
  issued: holders.length,
  coupons: holders.map((customer, i) => ({ id: `coupon-${i + 1}`, customer, rank: i + 1 })),
  announced: holders.map((_, i) => `coupon-${i + 1}`),
  claims: holders.map((customer, i) => issuedTo(customer, i + 1)),
  ...more,
});
const coupon = (customer: string, rank: number, id = `coupon-${rank}`) => ({ id, customer, rank });

const told = [ask('mina', 0, { issued: 1 }), ask('jun', 5, { issued: 2 })];
const two = booksOf(2, ['mina', 'jun']);
const [mina, jun] = two.claims as [Claim, Claim];

describe('the checker of claims', () => {
  const sound: [string, ClaimAsked[], CampaignBooks][] = [
    ['two coupons, one after the other', told, two],
    ['fewer customers than coupons', told, booksOf(9, ['mina', 'jun'])],
    [
      'overlapping claims, in either order',
      [ask('mina', 0, { issued: 2 }, 9), ask('jun', 5, { issued: 1 })],
      booksOf(2, ['jun', 'mina']),
    ],
    ['a refusal when all are gone', [...told, ask('sora', 7, soldOut)], { ...two, claims: [mina, jun, refusedTo('sora')] }],
    ['a second claim', [...told, ask('mina', 3, again)], { ...two, claims: [issuedTo('mina', 1, 2), jun] }],
    ['a lost answer, then no', [ask('mina', 0, 'unknown'), ask('mina', 3, again)], booksOf(1, ['mina'])],
    ['a lost answer, then yes', [ask('mina', 0, 'unknown'), ask('mina', 3, { issued: 1 })], booksOf(1, ['mina'])],
    ['the claims of another campaign', [...told, { ...ask('sora', 7, again), campaign: 'other' }], two],
  ];
  test.each(sound)('passes %s', (_, history, books) => {
    expect(claimContradictions(history, books)).toEqual([]);
  });

  const bad: [string, string, ClaimAsked[], CampaignBooks][] = [
    ['one too many', 'over-issued: 2 of 1', told, { ...two, quantity: 1 }],
    ['a slot that leaked', 'leaked: 1 of 2', [told[0] as ClaimAsked, ask('jun', 5, soldOut)], booksOf(2, ['mina'])],
    ['sold_out while there were some', 'sold_out, but 2 of 3', [...told, ask('sora', 7, soldOut)], booksOf(3, ['mina', 'jun'])],
    ['a gap', 'rank 3 in place 2', told, { ...two, coupons: [coupon('mina', 1), coupon('jun', 3)] }],
    ['a tie', 'rank 1 in place 2', told, { ...two, coupons: [coupon('mina', 1), coupon('jun', 1, 'coupon-2')] }],
    ['two coupons of one customer', '2 coupons: mina', told, booksOf(2, ['mina', 'mina'])],
    ['a customer told of two', 'told of 2 coupons: mina', [...told, ask('mina', 3, { issued: 2 })], two],
    ['a coupon that was told and is lost', 'told rank 2, but there is undefined: jun', told, booksOf(2, ['mina'])],
    [
      'another rank than was told',
      'told rank 2, but there is 3: jun',
      told,
      { ...two, coupons: [coupon('mina', 1), coupon('jun', 3)] },
    ],
    [
      'an inversion',
      'inversion: rank 1',
      [ask('mina', 0, { issued: 2 }), ask('jun', 5, { issued: 1 })],
      booksOf(2, ['jun', 'mina']),
    ],
    [
      'an inversion behind a lost answer',
      'inversion: rank 1',
      [ask('mina', 0, 'unknown'), ask('mina', 2, again), ask('jun', 5, 'unknown'), ask('jun', 7, again)],
      booksOf(2, ['jun', 'mina']),
    ],
    [
      'a coupon to who came after sold_out was told',
      'rank 2 asked after another was told sold_out',
      [told[0] as ClaimAsked, ask('sora', 2, soldOut), ask('jun', 5, { issued: 2 })],
      two,
    ],
    ['already_claimed to who has none', 'already_claimed, but without', [...told, ask('sora', 7, again)], two],
    ['closed, when it is open', 'refused with closed', [...told, ask('sora', 7, { refused: 'closed' })], two],
    ['an error for an answer', 'refused with 500', [...told, ask('sora', 7, { refused: '500' })], two],
    ['a claim that nobody resolved', 'unresolved: sora', [...told, ask('sora', 7, 'unknown')], two],
    ['a coupon that nobody asked for', "never asked for: jun's", told.slice(0, 1), two],
    ['a campaign that counts otherwise', 'says 1 issued, there are 2', told, { ...two, issued: 1 }],
    ['a coupon that was not announced', '1 announced', told, { ...two, announced: ['coupon-1'] }],
    ['a claim without a record', 'no claim record: jun', told, { ...two, claims: [mina] }],
    ['a claim with two records', '2 claim records: mina', told, { ...two, claims: [mina, mina, jun] }],
    ['a record of another rank', 'has a coupon, but', told, { ...two, claims: [issuedTo('mina', 2), jun] }],
    ['a record of a refusal of who has one', 'has a coupon, but', told, { ...two, claims: [refusedTo('mina'), jun] }],
    ['a record of a coupon that is not there', 'has none, but', told, { ...booksOf(1, ['mina']), claims: [mina, jun] }],
    ['attempts that were not made', 'asked 1 times', told, { ...two, claims: [mina, issuedTo('jun', 2, 2)] }],
    ['attempts that were not counted', 'asked 2 times', [...told, ask('mina', 3, again)], two],
  ];
  test.each(bad)('finds %s', (_, says, history, books) => {
    expect(claimContradictions(history, books)).toContainEqual(expect.stringContaining(says));
  });
});

/** Gives the rank, or refuses with a code. May die on the way, which nobody is told. */
type Issuer = (customer: string, crash: () => void) => Promise<number>;
interface Shelf {
  readonly quantity: number;
  readonly coupons: { customer: string; rank: number }[];
}
class Refused extends Error {}
const refuse = (code: string): never => {
  throw new Refused(code);
};

/** 100 customers for 60 coupons, 20 at a time, each asking 3 times at once and again until it is known. */
const rush = async (open: (shelf: Shelf) => Issuer) => {
  const shelf: Shelf = { quantity: 60, coupons: [] };
  const issue = open(shelf);
  const history: ClaimAsked[] = [];
  const counted = new Map<string, number>();
  let steps = 0;
  const crash = () => {
    if (++steps % 7 === 0) throw new Error('crashed');
  };
  const askOnce = async (customer: string) => {
    const t0 = performance.now();
    const outcome = await issue(customer, crash).then(
      (rank) => ({ issued: rank }),
      (error) => (error instanceof Refused ? { refused: error.message } : 'unknown'),
    );
    history.push(ask(customer, t0, outcome, performance.now()));
    if (outcome !== 'unknown') counted.set(customer, (counted.get(customer) ?? 0) + 1);
    return outcome;
  };
  const customers = Array.from({ length: 100 }, (_, i) => `customer-${i}`);
  const waiting = [...customers];
  const lane = async () => {
    for (let customer = waiting.shift(); customer; customer = waiting.shift()) {
      const name = customer;
      const outcomes = await Promise.all([askOnce(name), askOnce(name), askOnce(name)]);
      let known = outcomes.some((outcome) => outcome !== 'unknown');
      while (!known) known = (await askOnce(name)) !== 'unknown';
    }
  };
  await Promise.all(Array.from({ length: 20 }, lane));

  // The records are as they should be: what is wrong is the coupons.
  const coupons = shelf.coupons.map(({ customer, rank }, i) => ({ id: `coupon-${i}`, customer, rank }));
  const first = new Map(coupons.toReversed().map((held) => [held.customer, held]));
  const claims = customers.map((customer) => {
    const [held, count] = [first.get(customer), counted.get(customer)];
    if (!held) return refusedTo(customer, count);
    return { ...issuedTo(customer, held.rank, count), couponId: held.id };
  });
  const { quantity } = shelf;
  const books = { id: 'drop', quantity, issued: coupons.length, coupons, claims, announced: coupons.map(({ id }) => id) };
  return claimContradictions(history, books);
};

describe('issuers under a rush', () => {
  test('a right one passes', async () => {
    const right = ({ quantity, coupons }: Shelf): Issuer => {
      let last = Promise.resolve();
      return async (customer, crash) => {
        const before = last;
        const { promise, resolve } = Promise.withResolvers<void>();
        last = promise;
        await before;
        try {
          await turn();
          crash();
          if (coupons.some((held) => held.customer === customer)) refuse('already_claimed');
          if (coupons.length >= quantity) refuse('sold_out');
          const rank = coupons.length + 1;
          coupons.push({ customer, rank });
          crash();
          return rank;
        } finally {
          resolve();
        }
      };
    };
    expect(await rush(right)).toEqual([]);
  });

  test('one that ranks by a clock of milliseconds is found out', async () => {
    const byClock = ({ quantity, coupons }: Shelf): Issuer => {
      const scores: [at: number, customer: string][] = [];
      return async (customer) => {
        await turn();
        if (scores.some(([, other]) => other === customer)) refuse('already_claimed');
        if (scores.length >= quantity) refuse('sold_out');
        // ZADD, then ZRANK: those of one millisecond stand in the order of their names.
        scores.push([Math.floor(performance.now()), customer]);
        scores.sort(([at, name], [otherAt, otherName]) => at - otherAt || (name < otherName ? -1 : 1));
        if (scores.length % 2 === 0) await turn();
        const rank = scores.findIndex(([, other]) => other === customer) + 1;
        coupons.push({ customer, rank });
        return rank;
      };
    };
    expect(await rush(byClock)).toContainEqual(expect.stringMatching(/^rank \d+ in place \d+$/));
  });

  test('one that ranks by the clocks of two machines is found out', async () => {
    const byClocks = ({ quantity, coupons }: Shelf): Issuer => {
      const clocks: number[] = [];
      return async (customer) => {
        await turn();
        if (coupons.some((held) => held.customer === customer)) refuse('already_claimed');
        if (coupons.length >= quantity) refuse('sold_out');
        // The second machine's clock is behind.
        const at = performance.now() - (clocks.length % 2) * 1_000;
        clocks.push(at);
        const rank = clocks.filter((other) => other <= at).length;
        coupons.push({ customer, rank });
        return rank;
      };
    };
    expect(await rush(byClocks)).toContainEqual(expect.stringContaining('inversion'));
  });

  test('one that counts down and inserts apart, with a crash between, is found out', async () => {
    const apart = ({ quantity, coupons }: Shelf): Issuer => {
      let stock = quantity;
      const seen = new Set<string>();
      return async (customer, crash) => {
        await turn();
        if (seen.has(customer)) refuse('already_claimed');
        if (stock <= 0) refuse('sold_out');
        seen.add(customer);
        stock -= 1;
        await turn();
        try {
          crash();
        } catch (error) {
          seen.delete(customer);
          throw error;
        }
        const rank = coupons.length + 1;
        coupons.push({ customer, rank });
        return rank;
      };
    };
    const wrong = await rush(apart);
    expect(wrong).toContainEqual(expect.stringMatching(/^leaked: \d+ of 60 issued/));
    expect(wrong).toContainEqual(expect.stringMatching(/^sold_out, but \d+ of 60/));
  });

  test('one that does not look for duplicates is found out', async () => {
    const careless = ({ quantity, coupons }: Shelf): Issuer => {
      return async (customer) => {
        await turn();
        if (coupons.length >= quantity) refuse('sold_out');
        const rank = coupons.length + 1;
        coupons.push({ customer, rank });
        return rank;
      };
    };
    expect(await rush(careless)).toContainEqual(expect.stringMatching(/^[23] coupons: customer-\d+$/));
  });
});
