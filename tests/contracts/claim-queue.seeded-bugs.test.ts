import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { QueuedClaim } from '../../core/coupon/claim.ts';
import type { ClaimQueue } from '../../core/ports.ts';
import { Unavailable } from '../../core/shared/refusal.ts';
import { type ClaimQueueWish, claimQueueChecks } from './claim-queue.ts';

type Bug =
  | 'has no duplicate check'
  | 'orders by a clock'
  | 'hands out the newest first'
  | 'acknowledges before the decision'
  | 'gives up after the first failure'
  | 'puts a claim that failed at the end'
  | 'hands out at once what failed'
  | 'never parks'
  | 'counts an outage as a failure'
  | 'keeps what it could not decide before all others'
  | 'has one line for all campaigns'
  | 'lets workers overtake each other'
  | 'looks only when it starts'
  | 'never lets a claim come again'
  | 'loses what is under way when it is stopped'
  | 'keeps the campaign when it is stopped'
  | 'goes on after it was stopped'
  | 'stops before it has finished'
  | 'counts positions from 0';

/** A queue that is right in all but the bug: short, slow, and with a loop for each worker that looks again and again. */
const queueWith = (
  bug: Bug | null,
  { redeliver, deliveries = 10, batch = 128 }: ClaimQueueWish,
): ClaimQueue & { end(): void } => {
  interface Waiting {
    readonly claim: QueuedClaim;
    handed: number;
    /** Not handed out: it is being decided, or rests. */
    busy: boolean;
  }
  let waiting: Waiting[] = [];
  const seen = new Set<string>();
  const locked = new Set<string>();
  let ended = false;
  let adds = 0;

  const lineOf = (claim: QueuedClaim) => (bug === 'has one line for all campaigns' ? 'all' : claim.campaignId);
  const remove = (one: Waiting) => {
    waiting = waiting.filter((other) => other !== one);
  };
  const find = (id: string) => waiting.find(({ claim }) => claim.id === id);
  const position = (one: Waiting) =>
    waiting.filter(({ claim }) => claim.campaignId === one.claim.campaignId).indexOf(one) +
    (bug === 'counts positions from 0' ? 0 : 1);

  const rest = (one: Waiting) => {
    setTimeout(() => {
      one.busy = false;
    }, redeliver).unref();
  };

  const decideOne = async (one: Waiting, decide: (claim: QueuedClaim) => Promise<void>) => {
    if (bug === 'acknowledges before the decision') remove(one);
    try {
      await decide(one.claim);
      remove(one);
    } catch (error) {
      const outage = error instanceof Unavailable && bug !== 'counts an outage as a failure';
      if (outage) one.handed -= 1;
      if (bug === 'gives up after the first failure') remove(one);
      if (one.handed >= deliveries && bug !== 'never parks') remove(one);
      if (bug === 'puts a claim that failed at the end' && waiting.includes(one)) {
        remove(one);
        waiting.push(one);
      }
      if (outage || bug === 'hands out at once what failed') one.busy = false;
      else rest(one);
      return outage;
    }
    return false;
  };

  const drain = async (line: string, decide: (claim: QueuedClaim) => Promise<void>, stopped: () => boolean) => {
    const key = bug === 'lets workers overtake each other' ? Symbol() : line;
    if (locked.has(key as string)) return;
    locked.add(key as string);
    const mine = waiting.filter((one) => lineOf(one.claim) === line && !one.busy);
    if (bug === 'hands out the newest first') mine.reverse();
    let handed = mine.slice(0, batch);
    while (handed.length > 0) {
      for (const one of handed) {
        one.busy = true;
        one.handed += 1;
      }
      const outages = await Promise.all(handed.map((one) => decideOne(one, decide)));
      await tick();
      if (bug !== 'keeps what it could not decide before all others' || stopped()) break;
      handed = handed.filter((_, i) => outages[i]);
    }
    if (bug === 'loses what is under way when it is stopped' && stopped()) for (const one of mine) remove(one);
    if (bug !== 'keeps the campaign when it is stopped' || !stopped()) locked.delete(key as string);
  };

  return {
    async add(claim) {
      const known = bug === 'has no duplicate check' ? undefined : find(claim.id);
      if (known) return position(known);
      if (bug === 'never lets a claim come again' && seen.has(claim.id)) return 1;
      seen.add(claim.id);
      const one = { claim, handed: 0, busy: false };
      // A clock of milliseconds: of those that came in the same one, any may be the first.
      if (bug === 'orders by a clock' && ++adds % 7 === 0) waiting.splice(-1, 0, one);
      else waiting.push(one);
      return position(one);
    },
    async find(id) {
      const one = find(id);
      return one ? { ...one.claim, position: position(one) } : null;
    },
    size: async (campaignId) => waiting.filter(({ claim }) => claim.campaignId === campaignId).length,
    work(decide) {
      let stopped = false;
      const running = new Set<Promise<void>>();
      const loop = async () => {
        while (!stopped && !ended) {
          for (const line of new Set(waiting.map(({ claim }) => lineOf(claim)))) {
            const done = drain(line, decide, () => stopped).finally(() => running.delete(done));
            running.add(done);
          }
          if (bug === 'looks only when it starts' && running.size > 0) return;
          await tick();
        }
      };
      void loop();
      return {
        async stop() {
          if (bug !== 'goes on after it was stopped') stopped = true;
          if (bug !== 'stops before it has finished') await Promise.all(running);
        },
      };
    },
    end() {
      ended = true;
    },
  };
};

const makeWith = (bug: Bug | null) => async (options: ClaimQueueWish) => {
  const queue = queueWith(bug, options);
  return { queue, other: queue, close: async () => queue.end() };
};

const ORDER = 'hands out all, in the order in which they came, and then nobody waits';
const FAILS = 'a claim whose decision fails is handed out again, and the others go on meanwhile';
const GROWS = 'a position never grows, and nothing is forgotten';
const STOPS = 'stop finishes what is begun and begins nothing; the rest is for the next worker';

const bugs: Record<Bug, readonly string[]> = {
  'has no duplicate check': ['a claim that waits keeps its place when it is made again'],
  'orders by a clock': [ORDER],
  'hands out the newest first': [ORDER],
  'acknowledges before the decision': ['a claim waits until it is decided, and can be made again when it is'],
  'gives up after the first failure': [FAILS, GROWS],
  'puts a claim that failed at the end': [GROWS],
  'hands out at once what failed': ['a claim whose decision failed is not handed out again at once, and keeps its place'],
  'never parks': ['a claim that cannot be decided is parked in the end, and can be made again'],
  'counts an outage as a failure': ['while nobody can decide, all wait in order, and no claim is parked for it'],
  'keeps what it could not decide before all others': [
    'one claim for which the server is always away does not hold up the others',
  ],
  'has one line for all campaigns': ['campaigns do not hold up each other'],
  'lets workers overtake each other': ['several workers decide each claim once between them, and do not overtake each other'],
  'looks only when it starts': ['hands out what is added to an idle queue, and to a busy one'],
  'never lets a claim come again': ['a claim waits until it is decided, and can be made again when it is'],
  'loses what is under way when it is stopped': ['stopped while nobody can decide, it leaves all to the next worker'],
  'keeps the campaign when it is stopped': ['a worker that stops hands over to one that is at work already'],
  'goes on after it was stopped': [STOPS],
  'stops before it has finished': [STOPS],
  'counts positions from 0': ['gives positions, and knows who waits'],
};

const run = async (name: string, bug: Bug | null) => {
  const { options, check } = claimQueueChecks[name] as (typeof claimQueueChecks)[string];
  const world = await makeWith(bug)(options);
  await check(world, makeWith(bug), bug ? 300 : 20).finally(world.close);
};

describe('the contract of ClaimQueue finds a queue that', () => {
  const cases = Object.entries(bugs).flatMap(([bug, breaks]) => breaks.map((broken) => ({ bug: bug as Bug, broken })));
  test.concurrent.each(cases)('$bug: $broken', async ({ bug, broken }) => {
    // Not with `rejects`: of tests that run together, it may fail another one.
    const found = await run(broken, bug).then(
      () => false,
      () => true,
    );
    expect(found).toBe(true);
  });

  test.each(Object.keys(claimQueueChecks))('and none without a bug: %s', (name) => run(name, null));

  test('every check finds at least one of them', () => {
    expect(new Set(cases.map(({ broken }) => broken))).toEqual(new Set(Object.keys(claimQueueChecks)));
  });
});
