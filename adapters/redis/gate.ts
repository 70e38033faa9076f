import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Result } from 'ioredis';
import type { Gate } from '../../core/ports.ts';
import { RedisAway, type RedisConnection } from './connection.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    admitClaims(
      meta: string,
      issued: string,
      reservations: string,
      keep: number,
      ...customers: string[]
    ): Result<number[] | null, Context>;
    settleClaims(
      issued: string,
      reservations: string,
      keep: number,
      age: number,
      coupons: number,
      ...customers: string[]
    ): Result<number, Context>;
    openGate(
      meta: string,
      issued: string,
      guard: string,
      keep: number,
      quantity: number,
      coupons: number,
    ): Result<number, Context>;
    lookAtGate(
      meta: string,
      issued: string,
      reservations: string,
      age: number,
      most: number,
    ): Result<[loaded: number, issued: number, reserved: number, ...overdue: string[]], Context>;
  }
}

/** What the gate is a copy of: the books in Postgres. */
export interface RedisGateOptions {
  /** How many coupons a campaign has and who has one; null when there is no such campaign. */
  readonly load: (campaignId: string) => Promise<{ readonly quantity: number; readonly customers: readonly string[] } | null>;
  /** How many coupons are issued; null when there is no such campaign. */
  readonly issuedCount: (campaignId: string) => Promise<number | null>;
  /** Those of the customers who have a coupon. */
  readonly issuedTo: (campaignId: string, customerIds: readonly string[]) => Promise<readonly string[]>;
  /** Milliseconds after which the books are asked what became of a reservation. Default 4,000. */
  readonly reservationTtl?: number;
  /** Mean milliseconds between two comparisons with the books. Default 1,000. */
  readonly reconcileEvery?: number;
}

/** Keys are dropped when a campaign was not used for so long. */
const KEEP = 7 * 24 * 3_600_000;
/** Customers in one call: they share a round trip, but must not hold up Redis. */
const MAX_BATCH = 500;
/** While one process loads a campaign, the others do not; also the pause after a load that failed. */
const LOAD_GUARD = 2_000;
/** Rounds of the reconciler without a claim after which this process stops looking at a campaign. */
const FORGET_AFTER = 60;

const lua = (file: string) => readFileSync(join(import.meta.dirname, file), 'utf8');
const scripts = {
  admitClaims: { numberOfKeys: 3, lua: lua('gate-admit.lua') },
  settleClaims: { numberOfKeys: 2, lua: lua('gate-settle.lua') },
  openGate: { numberOfKeys: 3, lua: lua('gate-open.lua') },
  lookAtGate: { numberOfKeys: 3, lua: lua('gate-look.lua') },
};

/** Gives to `send` what comes, and all that comes for a campaign while its last call is under way together in the next. */
const batching = <T>(send: (campaignId: string, items: readonly T[]) => Promise<void>) => {
  const waiting = new Map<string, T[]>();
  const underWay = new Set<Promise<void>>();
  const sendAll = async (campaignId: string) => {
    // What comes in the same turn goes along.
    await null;
    for (let items = waiting.get(campaignId); items?.length; items = waiting.get(campaignId)) {
      await send(campaignId, items.splice(0, MAX_BATCH));
    }
    waiting.delete(campaignId);
  };
  return {
    add(campaignId: string, item: T) {
      const others = waiting.get(campaignId);
      if (others) return void others.push(item);
      waiting.set(campaignId, [item]);
      const sending = sendAll(campaignId).finally(() => underWay.delete(sending));
      underWay.add(sending);
    },
    idle: () => Promise.all(underWay),
  };
};

interface Seen {
  /** Rounds of the reconciler since the last claim. */
  idle: number;
  /** Coupons that the books had and Redis had not, in the last round. */
  missing: number;
}

type Admission = Awaited<ReturnType<Gate['admit']>>;

const PASS: Admission = { sequence: null };
const admissionOf = (answer: number | undefined): Admission => {
  if (answer === -1) return { refused: 'already_claimed' };
  if (answer === -2) return { refused: 'sold_out' };
  return answer ? { sequence: answer } : PASS;
};

/**
 * A gate that all processes with one Redis share. It holds what the books say (loaded from them when Redis does not know
 * the campaign) and dated reservations; while Redis is away or does not know, claims pass at once.
 *
 * It errs on one side only: `issued` holds nobody without a coupon, so whatever is lost (a reply, a `settle`, all of Redis)
 * lets more claims through to the books. The reconciler of any process makes up for it: it returns reservations whose
 * process died, and loads a campaign again whose coupons are not as many as in the books.
 */
export const redisGate = (
  connection: RedisConnection,
  { load, issuedCount, issuedTo, reservationTtl = 4_000, reconcileEvery = 1_000 }: RedisGateOptions,
): Gate & { close(): Promise<void> } => {
  for (const [command, script] of Object.entries(scripts)) connection.commands.defineCommand(command, script);

  // The braces keep the keys of a campaign on one node of a cluster.
  const key = (campaignId: string, part: string) => `${connection.prefix}{campaign:${campaignId}}:${part}`;
  const meta = (campaignId: string) => key(campaignId, 'gate');
  const issued = (campaignId: string) => key(campaignId, 'issued');
  const reservations = (campaignId: string) => key(campaignId, 'reservations');
  const guard = (campaignId: string) => key(campaignId, 'loading');

  const complain = (error: unknown, message: string) => {
    if (!(error instanceof RedisAway)) connection.report(error, message);
  };

  /** Campaigns that were claimed here of late, and how the reconciler found them. */
  const seen = new Map<string, Seen>();
  const inUse = (campaignId: string) => {
    const known = seen.get(campaignId);
    if (known) known.idle = 0;
    else seen.set(campaignId, { idle: 0, missing: 0 });
  };

  /** `age`: only reservations so many milliseconds old are given back. */
  const settleNow = (campaignId: string, got: readonly string[], none: readonly string[], age = 0) =>
    connection.ask((redis) =>
      redis.settleClaims(issued(campaignId), reservations(campaignId), KEEP, age, got.length, ...got, ...none),
    );

  const loading = new Map<string, Promise<void>>();
  /** Reads a campaign from the books into Redis, unless somebody is about to. Never throws. */
  const loadOnce = (campaignId: string): Promise<void> => {
    const known = loading.get(campaignId);
    if (known) return known;
    const reading = async () => {
      const free = await connection.ask((redis) => redis.set(guard(campaignId), 1, 'PX', LOAD_GUARD, 'NX'));
      if (!free) return;
      const truth = await load(campaignId);
      // The guard stays: claims on a campaign that does not exist shall not all ask the books.
      if (!truth) return;
      const { customers, quantity } = truth;
      for (let i = 0; i < customers.length; i += MAX_BATCH) await settleNow(campaignId, customers.slice(i, i + MAX_BATCH), []);
      await connection.ask((redis) =>
        redis.openGate(meta(campaignId), issued(campaignId), guard(campaignId), KEEP, quantity, customers.length),
      );
    };
    const done = reading()
      .catch((error) => complain(error, 'gate: campaign not loaded'))
      .finally(() => loading.delete(campaignId));
    loading.set(campaignId, done);
    return done;
  };

  const admissions = batching<{ customerId: string; answer(admission: Admission): void }>(async (campaignId, asked) => {
    let answers: number[] | null = [];
    try {
      const customers = asked.map(({ customerId }) => customerId);
      answers = await connection.ask((redis) =>
        redis.admitClaims(meta(campaignId), issued(campaignId), reservations(campaignId), KEEP, ...customers),
      );
      if (answers) inUse(campaignId);
      else void loadOnce(campaignId);
    } catch (error) {
      complain(error, 'gate: claims pass');
    }
    asked.forEach(({ answer }, i) => void answer(admissionOf(answers?.[i])));
  });

  // One that is lost is found by the reconciler.
  const outcomes = batching<{ customerId: string; outcome: 'issued' | 'returned' }>(async (campaignId, settled) => {
    const having = (wanted: 'issued' | 'returned') =>
      settled.filter(({ outcome }) => outcome === wanted).map(({ customerId }) => customerId);
    await settleNow(campaignId, having('issued'), having('returned')).catch((error) =>
      complain(error, 'gate: claims not settled'),
    );
  });

  const reconcile = async (campaignId: string, state: Seen) => {
    for (;;) {
      const [loaded, known, reserved, ...overdue] = await connection.ask((redis) =>
        redis.lookAtGate(meta(campaignId), issued(campaignId), reservations(campaignId), reservationTtl, MAX_BATCH),
      );
      if (overdue.length > 0) {
        const got = new Set(await issuedTo(campaignId, overdue));
        const none = overdue.filter((customer) => !got.has(customer));
        // Another process may have been faster, and some of these may hold a new reservation by now.
        await settleNow(campaignId, [...got], none, reservationTtl);
        if (overdue.length === MAX_BATCH) continue;
      }
      if (++state.idle > FORGET_AFTER && reserved === 0) seen.delete(campaignId);
      if (!loaded || reserved > 0) return;
      const missing = ((await issuedCount(campaignId)) ?? 0) - known;
      // A claim between its commit and its `settle` makes a difference for a moment; only one that lasts counts.
      const lasting = missing !== 0 && missing === state.missing;
      state.missing = missing;
      if (!lasting) return;
      if (missing < 0) {
        // Coupons that the books do not know (any more): they were restored from a backup.
        await connection.ask((redis) => redis.hdel(meta(campaignId), 'quantity'));
        await connection.ask((redis) => redis.unlink(issued(campaignId)));
      }
      return loadOnce(campaignId);
    }
  };

  let closed = false;
  let timer: NodeJS.Timeout;
  let running = Promise.resolve();
  const reconcileAll = async () => {
    const all = connection.ready() ? [...seen] : [];
    await Promise.all(
      all.map(([campaignId, state]) =>
        reconcile(campaignId, state).catch((error) => complain(error, 'gate: campaign not reconciled')),
      ),
    );
    schedule();
  };
  const schedule = () => {
    if (closed) return;
    const pause = reconcileEvery * (0.5 + Math.random());
    timer = setTimeout(() => {
      running = reconcileAll();
    }, pause).unref();
  };
  schedule();

  return {
    admit: (campaignId, customerId) => new Promise((answer) => admissions.add(campaignId, { customerId, answer })),
    settle: (campaignId, customerId, outcome) => outcomes.add(campaignId, { customerId, outcome }),
    /** Sends what is settled, as far as Redis answers. */
    async close() {
      closed = true;
      clearTimeout(timer);
      await Promise.all([running, outcomes.idle(), ...loading.values()]);
    },
  };
};
