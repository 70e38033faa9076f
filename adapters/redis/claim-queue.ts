import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ReplyError, type Result } from 'ioredis';
import type { QueuedClaim } from '../../core/coupon/claim.ts';
import type { ClaimQueue } from '../../core/ports.ts';
import { Unavailable } from '../../core/shared/refusal.ts';
import { RedisAway, type RedisConnection } from './connection.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    addClaim(
      stream: string,
      queue: string,
      claims: string,
      lease: string,
      keep: number,
      id: string,
      customerId: string,
      channel: string,
      campaignId: string,
    ): Result<number, Context>;
    takeClaims(
      stream: string,
      queue: string,
      claims: string,
      lease: string,
      dead: string,
      keep: number,
      worker: string,
      leaseFor: number,
      idle: number,
      deliveries: number,
      most: number,
      ...kept: string[]
    ): Result<[kept: string[], taken: string[], parked: string[], waiting: number] | null, Context>;
    claimsDone(stream: string, queue: string, claims: string, ...entriesAndIds: string[]): Result<number, Context>;
    leaveClaims(
      stream: string,
      lease: string,
      worker: string,
      leaseFor: number,
      channel: string,
      campaignId: string,
      ...back: string[]
    ): Result<number, Context>;
    forgetClaims(campaigns: string, campaignId: string, additions: string): Result<number, Context>;
  }
}

/** Times in milliseconds. */
export interface RedisClaimQueueOptions {
  /** Until a claim whose decision failed, or whose worker died, is handed out again. Default 5,000. */
  readonly redeliver?: number;
  /** Times that a claim is handed out before it is parked. Default 10. */
  readonly deliveries?: number;
  /** Claims of one campaign that are decided at the same time, apart from those handed out again. Default 128. */
  readonly batch?: number;
  /** Mean time after which a worker looks by itself, in case that a wake-up was lost. Default 250. */
  readonly poll?: number;
  /** First and longest pause between two tries while decisions are `Unavailable`. Default [50, 2,000]. */
  readonly backOff?: readonly [first: number, longest: number];
  /** A campaign whose queue has been empty for so long is no longer looked at until the next claim. Default 60,000. */
  readonly forget?: number;
}

/** A claim, and its entry in the stream. */
type Entry = QueuedClaim & { readonly entry: string };

/** Queues and what belongs to them are dropped when they were not used for so long. */
const KEEP = 7 * 24 * 3_600_000;

const lua = (file: string) => readFileSync(join(import.meta.dirname, file), 'utf8');
const scripts = {
  addClaim: { numberOfKeys: 4, lua: lua('claims-add.lua') },
  takeClaims: { numberOfKeys: 5, lua: lua('claims-take.lua') },
  claimsDone: { numberOfKeys: 3, lua: lua('claims-done.lua') },
  leaveClaims: { numberOfKeys: 2, lua: lua('claims-leave.lua') },
  forgetClaims: { numberOfKeys: 1, lua: lua('claims-forget.lua') },
};

/** Order of the stream: an id is milliseconds and a count. */
const byEntry = (a: Entry, b: Entry): number => {
  const [at = 0, count = 0] = a.entry.split('-').map(Number);
  const [otherAt = 0, otherCount = 0] = b.entry.split('-').map(Number);
  return at - otherAt || count - otherCount;
};

/**
 * Queues that all processes with one Redis share. A queued claim holds nothing: when Redis loses it, `find` gives null and it
 * can be made again.
 *
 * A campaign is worked at by one process at a time, under a lease, since two would overtake each other; several campaigns by
 * as many processes as there are. When a worker dies, another takes over after `redeliver`, beginning with what was under way.
 *
 * `add`, `find` and `size` throw Unavailable when Redis is away; `add` with outcome `unknown` when the claim may have been
 * queued nevertheless (adding it again is safe). Work waits for Redis to come back.
 */
export const redisClaimQueue = (
  connection: RedisConnection,
  log: { warn(o: object, m: string): void },
  {
    redeliver = 5_000,
    deliveries = 10,
    batch = 128,
    poll = 250,
    backOff = [50, 2_000],
    forget = 60_000,
  }: RedisClaimQueueOptions = {},
): ClaimQueue & { close(): Promise<void> } => {
  const { prefix } = connection;
  for (const [command, script] of Object.entries(scripts)) connection.commands.defineCommand(command, script);

  // The braces keep the keys of a campaign on one node of a cluster.
  const key = (campaignId: string, part: string) => `${prefix}{campaign:${campaignId}}:${part}`;
  const stream = (campaignId: string) => key(campaignId, 'claims');
  const queue = (campaignId: string) => key(campaignId, 'queue');
  const claims = (campaignId: string) => key(campaignId, 'queued');
  const lease = (campaignId: string) => key(campaignId, 'worker');
  const dead = (campaignId: string) => key(campaignId, 'dead');
  /** Claim id → campaign id. */
  const pointer = (id: string) => `${prefix}claim:${id}`;
  /** Campaigns with a queue → how often a claim was added, which tells whether one was added since. */
  const campaigns = `${prefix}claim-queues`;
  const channel = `${prefix}claim-queues:added`;

  const unavailable = (error: unknown, outcome: Unavailable['outcome']) => {
    if (!(error instanceof RedisAway)) connection.report(error, 'claim queue');
    return new Unavailable('the queue of claims is away', outcome, error);
  };
  const ask: RedisConnection['ask'] = (call) =>
    connection.ask(call).catch((error) => {
      throw unavailable(error, 'nothing_changed');
    });

  const startWork = (decide: (claim: QueuedClaim) => Promise<void>): { stop(): Promise<void> } => {
    const worker = randomUUID();
    const stopping = new AbortController();
    const { signal } = stopping;
    /** Campaigns that are worked at, and whether somebody asked to look once more. */
    const drains = new Map<string, { again: boolean; readonly done: Promise<void> }>();
    /** Campaigns whose claims may have been handed to this worker without its knowing: the answer was lost. */
    const unsure = new Set<string>();
    /** Campaigns with an empty queue: since when, at which count of additions. */
    const resting = new Map<string, { readonly additions: string | undefined; readonly since: number }>();
    const additionsOf = new Map<string, string>();

    /** null when another worker has the campaign. */
    const take = async (campaignId: string, kept: readonly Entry[]): Promise<Entry[] | null> => {
      const answer = await connection.ask((redis) =>
        redis.takeClaims(
          stream(campaignId),
          queue(campaignId),
          claims(campaignId),
          lease(campaignId),
          dead(campaignId),
          KEEP,
          worker,
          redeliver,
          unsure.has(campaignId) ? 0 : redeliver,
          deliveries,
          batch,
          ...kept.map(({ entry }) => entry),
        ),
      );
      unsure.delete(campaignId);
      if (!answer) return null;
      const [still, taken, parked, waiting] = answer;
      for (const claimId of parked) {
        log.warn({ claimId, campaignId, deliveries }, 'claim parked: it could not be decided; it can be made again');
      }
      if (waiting > 0) resting.delete(campaignId);
      else if (!resting.has(campaignId)) {
        resting.set(campaignId, { additions: additionsOf.get(campaignId), since: performance.now() });
      }
      const owned = new Set(still);
      const entries = kept.filter(({ entry }) => owned.has(entry));
      for (let i = 0; i < taken.length; i += 3) {
        const [entry, id, customerId] = taken.slice(i, i + 3) as [string, string, string];
        entries.push({ entry, id, campaignId, customerId });
      }
      return entries.sort(byEntry);
    };

    /** Those that no server could decide now; they stay this worker's. All others are decided, or handed out again later. */
    const decideAll = async (campaignId: string, entries: readonly Entry[]): Promise<Entry[]> => {
      // Without looking whose it is: should the lease have been lost, its next holder keeps it a little longer.
      const renew = () => {
        connection.ask((redis) => redis.pexpire(lease(campaignId), redeliver)).catch(() => {});
      };
      const renewing = setInterval(renew, redeliver / 3).unref();
      const decided: Entry[] = [];
      const kept: Entry[] = [];
      // All begin in this turn, in order: whoever decides can keep it.
      const decisions = entries.map(async (asked) => {
        const { entry: _, ...claim } = asked;
        try {
          await decide(claim);
          decided.push(asked);
        } catch (error) {
          if (error instanceof Unavailable) return void kept.push(asked);
          log.warn({ err: error, ...claim }, 'claim not decided; it is handed out again');
        }
      });
      await Promise.all(decisions);
      clearInterval(renewing);
      if (decided.length > 0) {
        const pairs = decided.flatMap(({ entry, id }) => [entry, id]);
        await connection.ask((redis) => redis.claimsDone(stream(campaignId), queue(campaignId), claims(campaignId), ...pairs));
      }
      return kept;
    };

    const drain = async (campaignId: string) => {
      let kept: readonly Entry[] = [];
      let rest = backOff[0];
      for (;;) {
        const entries = await take(campaignId, kept);
        if (!entries || entries.length === 0) return;
        kept = await decideAll(campaignId, entries);
        if (signal.aborted) break;
        if (kept.length < entries.length) rest = backOff[0];
        else {
          await pause(rest * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {});
          rest = Math.min(2 * rest, backOff[1]);
        }
        if (signal.aborted) break;
      }
      const back = kept.map(({ entry }) => entry);
      await connection.ask((redis) =>
        redis.leaveClaims(stream(campaignId), lease(campaignId), worker, redeliver, channel, campaignId, ...back),
      );
    };

    const wake = (campaignId: string) => {
      if (signal.aborted) return;
      const running = drains.get(campaignId);
      if (running) {
        running.again = true;
        return;
      }
      const done = drain(campaignId)
        .catch((error) => {
          unsure.add(campaignId);
          if (!(error instanceof RedisAway)) connection.report(error, 'claim queue');
          // Redis is away, or worse: the poll tries again.
          state.again = false;
        })
        .then(() => {
          drains.delete(campaignId);
          if (state.again) wake(campaignId);
        });
      const state = { again: false, done };
      drains.set(campaignId, state);
    };

    const look = async () => {
      if (signal.aborted || !connection.ready()) return;
      const known = await connection.ask((redis) => redis.zrange(campaigns, '0', '-1', 'WITHSCORES'));
      for (let i = 0; i < known.length; i += 2) {
        const [campaignId, additions] = known.slice(i, i + 2) as [string, string];
        additionsOf.set(campaignId, additions);
        const rest = resting.get(campaignId);
        if (rest && rest.additions !== additions) resting.delete(campaignId);
        if (rest?.additions === additions && performance.now() - rest.since > forget) {
          await connection.ask((redis) => redis.forgetClaims(campaigns, campaignId, additions));
          resting.delete(campaignId);
          additionsOf.delete(campaignId);
        } else wake(campaignId);
      }
    };
    const lookAgain = () => {
      look().catch((error) => {
        if (!(error instanceof RedisAway)) connection.report(error, 'claim queue');
      });
    };

    let timer: NodeJS.Timeout;
    const pollAgain = () => {
      lookAgain();
      timer = setTimeout(pollAgain, poll * (0.5 + Math.random())).unref();
    };
    connection.listen(channel, { heard: wake, subscribed: lookAgain });
    pollAgain();

    return {
      async stop() {
        clearTimeout(timer);
        stopping.abort();
        await Promise.all([...drains.values()].map(({ done }) => done));
      },
    };
  };

  const works = new Set<{ stop(): Promise<void> }>();
  return {
    async add({ id, campaignId, customerId }) {
      // Where to look for it, before there is something to be found: a pointer to nothing does no harm.
      await ask((redis) =>
        Promise.all([redis.set(pointer(id), campaignId, 'PX', KEEP), redis.zincrby(campaigns, 1, campaignId)]),
      );
      const sent = connection.ready();
      return connection
        .ask((redis) =>
          redis.addClaim(
            stream(campaignId),
            queue(campaignId),
            claims(campaignId),
            lease(campaignId),
            KEEP,
            id,
            customerId,
            channel,
            campaignId,
          ),
        )
        .catch((error) => {
          throw unavailable(error, sent && !(error instanceof ReplyError) ? 'unknown' : 'nothing_changed');
        });
    },
    async find(id) {
      const campaignId = await ask((redis) => redis.get(pointer(id)));
      if (campaignId === null) return null;
      const [rank, known] = await ask((redis) =>
        Promise.all([redis.zrank(queue(campaignId), id), redis.hget(claims(campaignId), id)]),
      );
      if (rank === null || known === null) return null;
      return { id, campaignId, customerId: known.slice(known.indexOf(' ') + 1), position: rank + 1 };
    },
    size: (campaignId) => ask((redis) => redis.zcard(queue(campaignId))),
    work(decide) {
      const work = startWork(decide);
      const stop = async () => {
        await work.stop();
        works.delete(work);
      };
      works.add(work);
      return { stop };
    },
    /** Stops all work of this process. */
    async close() {
      await Promise.all([...works].map((work) => work.stop()));
    },
  };
};
