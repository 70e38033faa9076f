import { setTimeout as pause } from 'node:timers/promises';
import type { QueuedClaim } from '../../core/coupon/claim.ts';
import type { ClaimQueue } from '../../core/ports.ts';
import { Unavailable } from '../../core/shared/refusal.ts';

/** Times in milliseconds. */
export interface MemoryClaimQueueOptions {
  /** Until a claim whose decision failed is handed out again. Default 5,000. */
  readonly redeliver?: number;
  /** Times that a claim is handed out before it is parked. Default 10. */
  readonly deliveries?: number;
  /** Claims of one campaign that are decided at the same time. Default 128. */
  readonly batch?: number;
  /** First and longest pause between two tries while decisions are `Unavailable`. Default [50, 2,000]. */
  readonly backOff?: readonly [first: number, longest: number];
  /** Hears of what could not be decided. */
  readonly log?: { warn(o: object, m: string): void };
}

interface Waiting {
  readonly claim: QueuedClaim;
  /** Place in line; rises with each claim. */
  readonly sequence: number;
  deliveries: number;
  /** Its decision failed, and it is not yet its turn again. */
  resting: boolean;
}

/** Queues within one process; nothing outlives it, and a claim that is lost can be made again. */
export const memoryClaimQueue = ({
  redeliver = 5_000,
  deliveries = 10,
  batch = 128,
  backOff = [50, 2_000],
  log = { warn() {} },
}: MemoryClaimQueueOptions = {}): ClaimQueue & { close(): Promise<void> } => {
  /** Campaign → its claims, in order. */
  const lines = new Map<string, Waiting[]>();
  const byId = new Map<string, Waiting>();
  /** Campaigns that somebody works at: two workers would overtake each other. */
  const taken = new Set<string>();
  const workers = new Set<{ wake(campaignId: string): void; stop(): Promise<void> }>();
  let sequence = 0;

  const wakeAll = (campaignId: string) => {
    for (const worker of workers) worker.wake(campaignId);
  };
  const lineOf = (campaignId: string): readonly Waiting[] => lines.get(campaignId) ?? [];

  const positionOf = ({ claim: { campaignId }, sequence }: Waiting): number => {
    const line = lineOf(campaignId);
    let [low, high] = [0, line.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((line[middle] as Waiting).sequence < sequence) low = middle + 1;
      else high = middle;
    }
    return low + 1;
  };

  const remove = (campaignId: string, gone: ReadonlySet<Waiting>) => {
    if (gone.size === 0) return;
    for (const { claim } of gone) byId.delete(claim.id);
    const left = lineOf(campaignId).filter((waiting) => !gone.has(waiting));
    if (left.length > 0) lines.set(campaignId, left);
    else lines.delete(campaignId);
  };

  /** The next claims, in order; parks those that were handed out too often. */
  const next = (campaignId: string): Waiting[] => {
    const handed: Waiting[] = [];
    const parked = new Set<Waiting>();
    for (const waiting of lineOf(campaignId)) {
      if (handed.length === batch) break;
      if (waiting.resting) continue;
      if (waiting.deliveries >= deliveries) {
        parked.add(waiting);
        log.warn({ ...waiting.claim, deliveries }, 'claim parked: it could not be decided; it can be made again');
        continue;
      }
      waiting.deliveries += 1;
      handed.push(waiting);
    }
    remove(campaignId, parked);
    return handed;
  };

  const startWork = (decide: (claim: QueuedClaim) => Promise<void>) => {
    const stopping = new AbortController();
    const { signal } = stopping;
    const drains = new Set<Promise<void>>();

    const drain = async (campaignId: string) => {
      let rest = backOff[0];
      // What comes in the same turn goes along.
      await null;
      while (!signal.aborted) {
        const handed = next(campaignId);
        if (handed.length === 0) break;
        const decided = new Set<Waiting>();
        let kept = 0;
        // All begin in this turn, in order: whoever decides can keep it.
        const decisions = handed.map(async (waiting) => {
          try {
            await decide(waiting.claim);
            decided.add(waiting);
          } catch (error) {
            if (error instanceof Unavailable) {
              waiting.deliveries -= 1;
              kept += 1;
              return;
            }
            log.warn({ err: error, ...waiting.claim }, 'claim not decided; it is handed out again');
            waiting.resting = true;
            setTimeout(() => {
              waiting.resting = false;
              wakeAll(campaignId);
            }, redeliver).unref();
          }
        });
        await Promise.all(decisions);
        remove(campaignId, decided);
        if (kept < handed.length) rest = backOff[0];
        else {
          await pause(rest * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {});
          rest = Math.min(2 * rest, backOff[1]);
        }
      }
    };

    const wake = (campaignId: string) => {
      if (taken.has(campaignId)) return;
      taken.add(campaignId);
      const running = drain(campaignId).finally(() => {
        taken.delete(campaignId);
        drains.delete(running);
        // What came meanwhile, or is left by a worker that stopped.
        if (lineOf(campaignId).some(({ resting }) => !resting)) wakeAll(campaignId);
      });
      drains.add(running);
    };

    const worker = {
      wake,
      async stop() {
        workers.delete(worker);
        stopping.abort();
        await Promise.all(drains);
      },
    };
    workers.add(worker);
    for (const campaignId of lines.keys()) wake(campaignId);
    return worker;
  };

  return {
    async add(claim) {
      const known = byId.get(claim.id);
      if (known) return positionOf(known);
      const waiting = { claim, sequence: ++sequence, deliveries: 0, resting: false };
      const line = lines.get(claim.campaignId) ?? [];
      lines.set(claim.campaignId, line);
      byId.set(claim.id, waiting);
      line.push(waiting);
      wakeAll(claim.campaignId);
      return line.length;
    },
    async find(id) {
      const known = byId.get(id);
      return known ? { ...known.claim, position: positionOf(known) } : null;
    },
    size: async (campaignId) => lineOf(campaignId).length,
    work: (decide) => {
      const { stop } = startWork(decide);
      return { stop };
    },
    /** Stops all work. */
    async close() {
      await Promise.all([...workers].map((worker) => worker.stop()));
    },
  };
};
