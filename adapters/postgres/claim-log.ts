import { sql } from 'kysely';
import type { ClaimLog } from '../../core/ports.ts';
import { isConnectionLoss, type Reads } from './connection.ts';

type Refused = Parameters<ClaimLog['refused']>[0] & { attempts: number };

/** Rows that one statement writes at the most. */
const MAX_BATCH = 1_000;
/** Customers that may wait to be written; beyond it the oldest are dropped and counted, so that memory stays bounded. */
const MAX_WAITING = 100_000;
/** Milliseconds until records are tried again when Postgres was away. */
const RETRY_AFTER = 1_000;

export interface PostgresClaimLog extends ClaimLog {
  readonly stats: { dropped: number };
  /** Resolves when all that was refused until now is written, or could not be. */
  flush(): Promise<void>;
}

/**
 * Writes refused claims behind the answer: those that wait while a statement is under way go into the next one, several of
 * one customer as one row. A killed process loses the records of the last few milliseconds, never a decision.
 */
export const postgresClaimLog = ({ db }: Reads, log: { warn(o: object, message: string): void }): PostgresClaimLog => {
  let waiting = new Map<string, Refused>();
  let writing: Promise<void> | null = null;
  /** Rows of the next statement: one at a time after one that Postgres refused. */
  let batch = MAX_BATCH;
  const stats = { dropped: 0 };

  const write = async (rows: readonly Refused[]) => {
    const column = (value: (row: Refused) => string | number) => rows.map(value);
    const at = column((row) => new Date(row.at).toISOString());
    await sql`
      insert into claims (id, campaign_id, customer_id, decision, reason, attempts, first_asked_at, decided_at)
      select id, campaign_id, customer_id, 'refused', reason, attempts, at, at
      from unnest(${column((row) => row.id)}::uuid[], ${column((row) => row.campaignId)}::uuid[], ${column((row) => row.customerId)}::text[],
        ${column((row) => row.reason)}::text[], ${column((row) => row.attempts)}::int[], ${at}::timestamptz[])
        as refused (id, campaign_id, customer_id, reason, attempts, at)
      order by id
      on conflict (id) do update set
        attempts = claims.attempts + excluded.attempts,
        reason = case claims.decision when 'issued' then null else excluded.reason end,
        decided_at = case claims.decision when 'issued' then claims.decided_at else excluded.decided_at end`.execute(db);
  };

  const writeAll = async () => {
    // `writing` is set before this can clear it.
    await null;
    while (waiting.size > 0) {
      const rows = [...waiting.values()].slice(0, batch);
      for (const { id } of rows) waiting.delete(id);
      try {
        await write(rows);
        batch = MAX_BATCH;
      } catch (error) {
        const away = isConnectionLoss(error);
        log.warn({ err: error, records: rows.length }, 'refused claims could not be recorded; they are tried again');
        if (!away && batch === 1) {
          // Only the culprit is lost.
          stats.dropped++;
          continue;
        }
        batch = away ? MAX_BATCH : 1;
        const newer = waiting;
        waiting = new Map(rows.map((row) => [row.id, row]));
        for (const row of newer.values()) note(row);
        if (!away) continue;
        setTimeout(begin, RETRY_AFTER).unref();
        break;
      }
    }
    writing = null;
  };
  const begin = () => {
    writing ??= writeAll();
  };

  const note = (row: Refused) => {
    const known = waiting.get(row.id);
    if (known) {
      waiting.set(row.id, { ...row, attempts: known.attempts + row.attempts });
      return;
    }
    if (waiting.size >= MAX_WAITING) {
      waiting.delete(waiting.keys().next().value as string);
      stats.dropped++;
    }
    waiting.set(row.id, row);
  };

  return {
    stats,
    refused(claim) {
      note({ ...claim, attempts: 1 });
      // Behind the answer, and behind whatever else this turn of the event loop has to say.
      if (!writing) setImmediate(begin);
    },
    async flush() {
      begin();
      await writing;
    },
  };
};
