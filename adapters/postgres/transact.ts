import { randomUUID } from 'node:crypto';
import pg from 'pg';
import {
  type Books,
  type Changes,
  emptyShelves,
  factKinds,
  kinds,
  type Loaded,
  ONCE_HOURS,
  onceKey,
  openBatch,
  type Remembered,
  type Scope,
  type Transact,
} from '../../core/books.ts';
import { Unavailable } from '../../core/shared/refusal.ts';
import { isUuid } from '../../core/shared/uuid.ts';
import { clientConfig, isConnectionLoss, statementName } from './connection.ts';
import { factTables, type KeyedTable, lineTable, onceTable, recordTables, type Table } from './tables.ts';

/** Commands that one transaction decides at the most. */
const MAX_BATCH = 128;
/** Commands that may wait; one more is turned away at once. */
const MAX_WAITING = 5_000;
/** Milliseconds that a command may wait for its turn, and that a lost commit is looked up for. */
const PATIENCE = 5_000;
/** Milliseconds that a batch waits for a row which another process holds; a batch of ours holds its rows for a few. */
const LOCK_TIMEOUT = 500;
/** Milliseconds for which commands on a row that did not come free step aside, so that the others go on. */
const STEP_ASIDE = 300;
/** How often a command is tried alone after the database said no to its write. */
const MAX_TRIES = 3;

/**
 * Every statement of a lane goes by key, and is planned once. Without the second setting Postgres would plan the long write
 * anew each time, without the third it would keep to plans made while tables were empty.
 */
const LANE_SETTINGS = [
  `lock_timeout=${LOCK_TIMEOUT}`,
  'plan_cache_mode=force_generic_plan',
  'enable_seqscan=off',
  'statement_timeout=3000',
  // Not what the server defaults to: what is answered is on disk, and locks are seen as the loads assume.
  'synchronous_commit=on',
  'default_transaction_isolation=read\\ committed',
];

interface Command {
  readonly scope: Scope;
  readonly decide: (books: Books) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly deadline: number;
}

type Settle = () => void;

/** The connection went away while COMMIT was under way: nobody knows yet. */
class CommitLost extends Error {
  readonly batch: number;
  readonly settle: Settle;
  constructor(batch: number, settle: Settle, cause: unknown) {
    super('the reply to COMMIT was lost', { cause });
    this.batch = batch;
    this.settle = settle;
  }
}

const quoted = (value: string): string => `"${value.replace(/["\\]/g, '\\$&')}"`;

/** A column of many records as one Postgres array literal: cheaper than pg's own, and null-safe. */
const arrayOf = <R>({ type, value }: Table<R>['columns'][number], records: readonly R[]): string => {
  const bare = type !== 'text' && type !== 'jsonb' && type !== 'json';
  const parts = records.map((record) => {
    const part = value(record);
    if (part == null) return 'NULL';
    return bare ? String(part) : quoted(String(part));
  });
  return `{${parts.join(',')}}`;
};

/** Collects the parts of the one statement that writes a batch. */
const openWrite = () => {
  const parts: string[] = [];
  const values: string[] = [];
  const unnest = <R>(columns: Table<R>['columns'], records: readonly R[]): string =>
    `unnest(${columns.map((column) => `$${values.push(arrayOf(column, records))}::${column.type}[]`).join(', ')})`;

  return {
    insert<R>({ name, columns }: Table<R>, records: readonly R[]) {
      if (records.length === 0) return;
      const names = columns.map((column) => column.name).join(', ');
      parts.push(`insert into ${name} (${names}) select * from ${unnest(columns, records)}`);
    },
    update<R>({ name, columns, key }: KeyedTable<R>, records: readonly R[]) {
      if (records.length === 0) return;
      const changing = columns.filter((column) => column.changes);
      const sets = changing.map((column) => `${column.name} = new.${column.name}`).join(', ');
      const names = [key, ...changing].map((column) => column.name).join(', ');
      parts.push(
        `update ${name} set ${sets} from ${unnest([key, ...changing], records)} as new (${names}) where ${name}.${key.name} = new.${key.name}`,
      );
    },
    statement: (): { text: string; values: string[] } => {
      const [last, ...before] = parts.toReversed();
      const ctes = before.toReversed().map((part, i) => `w${i} as (${part})`);
      return { text: `${ctes.length > 0 ? `with ${ctes.join(', ')} ` : ''}${last}`, values };
    },
  };
};

const writeOf = (changes: Changes) => {
  const write = openWrite();
  write.insert(onceTable, changes.remembered);
  for (const kind of kinds) {
    const table = recordTables[kind] as KeyedTable<unknown>;
    write.insert(table, changes.records[kind].created);
    write.update(
      table,
      changes.records[kind].updated.map(({ after }) => after),
    );
  }
  write.insert(
    lineTable,
    changes.records.orders.created.flatMap((order) =>
      order.lines.map((line, position) => ({ orderId: order.id, position, line })),
    ),
  );
  for (const kind of factKinds) write.insert(factTables[kind] as Table<unknown>, changes.facts[kind]);
  return write.statement();
};

/** Keys are locked in this one order, whatever command names them; see `keyOf`. */
const loads = kinds.map((kind) => {
  const table = recordTables[kind] as KeyedTable<unknown>;
  const { name, key } = table;
  const select = table.select ?? table.columns.map((column) => column.name).join(', ');
  const text = `select ${select} from ${name} where ${name}.${key.name} = any($1::${key.type}[]) order by ${name}.${key.name} for no key update of ${name}`;
  return { kind, table, text };
});

/** First of each batch: numbers it on the lane's row, and reads the idempotency keys that are known. */
const OPENING = `with lane as (insert into lanes (id, batch, seen_at) values ($2, $1, now())
      on conflict (id) do update set batch = excluded.batch, seen_at = excluded.seen_at)
  select (select json_agg(json_build_object('once', json_build_object('subject', subject, 'operation', operation, 'key', key,
        'fingerprint', fingerprint, 'requestId', request_id), 'outcome', outcome,
        'expired', created_at < now() - interval '${ONCE_HOURS} hours'))
      from idempotency_keys
      where (subject, operation, key) in (select * from unnest($3::text[], $4::text[], $5::text[]))) as remembered`;

/** Only what is still expired: another process may have used the key anew since it was read. */
const FORGET_EXPIRED = `delete from idempotency_keys
  where subject = $1 and operation = $2 and key = $3 and created_at < now() - interval '${ONCE_HOURS} hours'`;

export interface PostgresTransact {
  readonly transact: Transact;
  /** How many commands wait, how many were decided and in how many transactions. */
  readonly stats: { waiting: number; commands: number; batches: number };
  /** Finishes what waits, then leaves. */
  close(): Promise<void>;
}

/**
 * Decides on the books in Postgres. One connection (a lane) holds, decides, writes and commits; commands that arrive while
 * its transaction is in flight are decided together in the next one. No timer: a lone command waits for nobody.
 *
 * Two round trips a batch, however many commands: [begin, idempotency keys, a locking load for each kind, clock] and [one
 * write, commit], pipelined. When the database says no to the write of a batch, its commands run again one by one, so that only the
 * culprit pays. When the reply to a commit is lost, its outcome is looked up by the batch's number and nothing is re-run
 * unless it is known to have failed.
 */
export const postgresTransact = (connectionString: string): PostgresTransact => {
  const laneId = randomUUID();
  let batchNumber = 0;
  const waiting: Command[] = [];
  const stats = { waiting: 0, commands: 0, batches: 0 };
  let busy = false;
  let closed = false;
  let idle: (() => void) | undefined;
  let lane: pg.Client | undefined;

  const drop = (client: pg.Client) => {
    if (lane === client) lane = undefined;
    client.end().catch(() => {});
  };

  /** The lane's connection; tries until the deadline. */
  const connected = async (deadline: number): Promise<pg.Client> => {
    for (;;) {
      if (lane) return lane;
      const client = new pg.Client({
        ...clientConfig(connectionString, LANE_SETTINGS),
        pipeline: true,
        query_timeout: 4_000,
      } as pg.ClientConfig);
      client.on('error', () => drop(client));
      client.on('end', () => drop(client));
      try {
        await client.connect();
        // On disk before the first batch: a row that is only being inserted could not be waited for.
        await client.query(
          'insert into lanes (id, batch, seen_at) values ($1, 0, now()) on conflict (id) do update set seen_at = excluded.seen_at',
          [laneId],
        );
        lane = client;
        return client;
      } catch (error) {
        client.end().catch(() => {});
        if (!isConnectionLoss(error)) throw error;
        if (Date.now() > deadline) throw new Unavailable('the database is away', 'nothing_changed', error);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  };

  const ask = (client: pg.Client, text: string, values: readonly string[] = []) =>
    client.query(values.length > 0 ? { name: statementName(text) as string, text, values: [...values] } : text);

  /** Holds everything that the commands name. */
  const load = async (
    client: pg.Client,
    commands: readonly Command[],
    number: number,
  ): Promise<{ loaded: Loaded; expired: Remembered[] }> => {
    const onces = commands.flatMap(({ scope }) => scope.once ?? []);
    const column = (values: readonly string[]) => `{${values.map(quoted).join(',')}}`;
    const begun = ask(client, 'begin');
    const opened = ask(client, OPENING, [
      String(number),
      laneId,
      column(onces.map(({ subject }) => subject)),
      column(onces.map(({ operation }) => operation)),
      column(onces.map(({ key }) => key)),
    ]);
    const records = emptyShelves();
    const held = loads.map(async ({ kind, table, text }) => {
      const named = commands.flatMap(({ scope }) => scope[kind] ?? []);
      const keys = new Set(table.key.type === 'uuid' ? named.filter(isUuid) : named);
      if (keys.size === 0) return;
      const { rows } = await ask(client, text, [column([...keys])]);
      for (const row of rows) (records[kind] as Map<string, unknown>).set(row[table.key.name], table.record(row));
    });
    // After the locks, so that of two decisions on a record the later one has the later moment.
    const clock = ask(client, 'select clock_timestamp() as now');
    // All are awaited even when one fails, so that the connection is free of them.
    const results = await Promise.allSettled([begun, opened, ...held, clock]);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    const { remembered } = (await opened).rows[0];
    const { now } = (await clock).rows[0];
    const known = (remembered ?? []) as (Remembered & { expired: boolean })[];
    return {
      loaded: {
        now,
        records,
        remembered: new Map(known.filter(({ expired }) => !expired).map((entry) => [onceKey(entry.once), entry])),
      },
      expired: known.filter(({ expired }) => expired),
    };
  };

  /** One transaction for all the commands. Gives what settles them once it is durable. */
  const attempt = async (commands: readonly Command[], deadline: number): Promise<Settle> => {
    const client = await connected(deadline);
    let committing = false;
    const number = ++batchNumber;
    let settle: Settle = () => {};
    try {
      const { loaded, expired } = await load(client, commands, number);
      const batch = openBatch(loaded);
      const settles = commands.map(({ scope, decide, resolve, reject }): Settle => {
        try {
          const value = batch.decide(scope, decide);
          return () => resolve(value);
        } catch (error) {
          return () => reject(error);
        }
      });
      settle = () => {
        for (const one of settles) one();
      };
      const changes = batch.changes();
      if (changes.none) {
        // Nobody waits for it: whatever comes next on this connection comes after it.
        ask(client, 'rollback').catch(() => drop(client));
        return settle;
      }
      const { text, values } = writeOf(changes);
      committing = true;
      const results = await Promise.allSettled([
        ...expired.map(({ once }) => ask(client, FORGET_EXPIRED, [once.subject, once.operation, once.key])),
        ask(client, text, values),
        ask(client, 'commit'),
      ]);
      for (const result of results) if (result.status === 'rejected') throw result.reason;
      return settle;
    } catch (error) {
      if (isConnectionLoss(error)) {
        drop(client);
        if (committing) throw new CommitLost(number, settle, error);
      } else if (!committing) {
        // After a failed write the pipelined commit has already ended the transaction.
        await ask(client, 'rollback').catch(() => drop(client));
      }
      throw error;
    }
  };

  /** What became of a transaction whose reply was lost. Waits while the server is still at it. */
  const outcomeOf = async (lost: CommitLost): Promise<'committed' | 'aborted'> => {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      try {
        const client = await connected(deadline);
        const { rows } = await ask(client, 'select batch from lanes where id = $1 for update', [laneId]);
        if (rows.length === 0) throw new Error('the row of the lane is gone');
        return rows[0].batch === lost.batch ? 'committed' : 'aborted';
      } catch (error) {
        const worthAnother = Date.now() < deadline && (isConnectionLoss(error) || isTimeout(error));
        if (!worthAnother) throw new Unavailable('the outcome of a commit is unknown', 'unknown', error);
      }
    }
  };

  const rejectAll = (commands: readonly Command[], error: unknown) => {
    for (const { reject } of commands) reject(error);
  };

  const run = async (commands: readonly Command[], tries: number): Promise<void> => {
    const late = commands.filter(({ deadline }) => Date.now() > deadline);
    rejectAll(late, new Unavailable('the shop is too busy', 'nothing_changed'));
    const due = late.length > 0 ? commands.filter((command) => !late.includes(command)) : commands;
    if (due.length === 0) return;
    try {
      stats.batches++;
      const settle = await attempt(due, Math.min(...due.map(({ deadline }) => deadline)));
      settle();
    } catch (error) {
      if (error instanceof CommitLost) {
        const outcome = await outcomeOf(error).catch((unknown: unknown) => rejectAll(due, unknown));
        if (outcome === 'committed') error.settle();
        if (outcome === 'aborted') await run(due, tries);
        return;
      }
      if (error instanceof Unavailable) return rejectAll(due, error);
      // Nothing was committed. A lost connection is worth another try, until the commands' patience ends.
      if (isConnectionLoss(error)) return run(due, tries);
      if (due.length > 1) {
        const aside: Command[] = [];
        for (const command of due) {
          if (stepsAside(command)) aside.push(command);
          else await run([command], 0);
        }
        waiting.unshift(...aside);
        return;
      }
      if (sqlState(error) === LOCK_NOT_AVAILABLE) {
        const [command] = due as [Command];
        for (const key of keysOf(command)) blocked.set(key, Date.now() + STEP_ASIDE);
        waiting.unshift(command);
        return;
      }
      if (tries + 1 < MAX_TRIES && isRetryable(error)) return run(due, tries + 1);
      rejectAll(due, isTimeout(error) ? new Unavailable('the shop is too busy', 'nothing_changed', error) : error);
    }
  };

  /** Rows that somebody else holds for long, and until when their commands step aside. */
  const blocked = new Map<string, number>();
  const stepsAside = (command: Command): boolean => {
    const now = Date.now();
    return blocked.size > 0 && now <= command.deadline && keysOf(command).some((key) => (blocked.get(key) ?? 0) > now);
  };

  /** The next batch, in order. */
  const next = (): Command[] => {
    if (blocked.size === 0) return waiting.splice(0, MAX_BATCH);
    for (const [key, until] of blocked) if (until <= Date.now()) blocked.delete(key);
    const batch: Command[] = [];
    const others: Command[] = [];
    for (const command of waiting.splice(0)) (batch.length < MAX_BATCH && !stepsAside(command) ? batch : others).push(command);
    waiting.push(...others);
    return batch;
  };

  const pump = async () => {
    busy = true;
    while (waiting.length > 0) {
      const batch = next();
      if (batch.length === 0) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        continue;
      }
      stats.waiting = waiting.length;
      stats.commands += batch.length;
      await run(batch, 0).catch((error: unknown) => rejectAll(batch, error));
    }
    busy = false;
    idle?.();
  };

  return {
    stats,
    transact: <T>(scope: Scope, decide: (books: Books) => T): Promise<T> =>
      new Promise<T>((resolve, reject) => {
        if (closed || waiting.length >= MAX_WAITING) {
          reject(new Unavailable(closed ? 'the shop is closing' : 'the shop is too busy', 'nothing_changed'));
          return;
        }
        waiting.push({ scope, decide, resolve: resolve as (value: unknown) => void, reject, deadline: Date.now() + PATIENCE });
        stats.waiting = waiting.length;
        if (!busy) pump();
      }),
    close: async () => {
      closed = true;
      if (busy) await new Promise<void>((resolve) => (idle = resolve));
      await lane?.end();
    },
  };
};

/** The rows that a command names. */
const keysOf = ({ scope }: Command): string[] => kinds.flatMap((kind) => (scope[kind] ?? []).map((key) => `${kind} ${key}`));

const LOCK_NOT_AVAILABLE = '55P03';
const sqlState = (error: unknown): string => (error as { code?: string }).code ?? '';
/** Unique violation, deadlock, serialization failure: another process was there first; fresh records may differ. */
const isRetryable = (error: unknown): boolean => ['23505', '40P01', '40001'].includes(sqlState(error));
/** Lock and statement time-out. */
const isTimeout = (error: unknown): boolean => [LOCK_NOT_AVAILABLE, '57014'].includes(sqlState(error));
