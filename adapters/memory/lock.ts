import type { Lock } from '../../core/ports.ts';
import { DomainError } from '../../core/shared/refusal.ts';

/**
 * A lock within one process: first come, first served. Refuses `busy` after `deadline` milliseconds (default 3,000).
 * There is no lease: a name stays taken for as long as its work runs.
 */
export const memoryLock = ({ deadline = 3_000 }: { deadline?: number } = {}): Lock => {
  /** Names in use → those who wait, oldest first. */
  const queues = new Map<string, Set<() => void>>();
  let fence = 0;

  const turn = (name: string): Promise<void> | void => {
    const queue = queues.get(name);
    if (!queue) return void queues.set(name, new Set());
    return new Promise((resolve, reject) => {
      const go = () => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        queue.delete(go);
        reject(new DomainError({ code: 'busy' }));
      }, deadline);
      queue.add(go);
    });
  };

  const leave = (name: string) => {
    const queue = queues.get(name);
    const [next] = queue ?? [];
    if (!next) return void queues.delete(name);
    queue?.delete(next);
    next();
  };

  return async (name, work) => {
    await turn(name);
    try {
      return await work(++fence);
    } finally {
      leave(name);
    }
  };
};
