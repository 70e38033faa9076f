import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { Unavailable } from '../../core/shared/refusal.ts';
import type { Database } from './schema.ts';

const INT8 = 20;
const TIMESTAMPTZ = 1184;

/** int8 as a safe integer, timestamptz as an Instant; a number that does not fit is a fault, not a rounded one. */
const parsers: { readonly [oid: number]: (text: string) => unknown } = {
  [INT8]: (text) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value)) throw new RangeError(`int8 beyond 2^53-1: ${text}`);
    return value;
  },
  // The session's time zone is UTC, so the text ends in +00.
  [TIMESTAMPTZ]: (text) => Date.parse(`${text.slice(0, 10)}T${text.slice(11, -3)}Z`),
};
const types = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') => parsers[oid] ?? pg.types.getTypeParser(oid, format as 'text'),
} as pg.CustomTypesConfig;

/** Limits of every connection: nobody waits for ever, for a lock, a statement or a client that forgot its transaction. */
export const clientConfig = (connectionString: string, settings: readonly string[]): pg.ClientConfig => ({
  connectionString,
  types,
  connectionTimeoutMillis: 3_000,
  keepAlive: true,
  application_name: 'firstcome',
  options: ['timezone=UTC', 'jit=off', 'idle_in_transaction_session_timeout=3000', ...settings]
    .map((setting) => `-c ${setting}`)
    .join(' '),
});

const names = new Map<string, string>();
const MAX_NAMES = 500;

/** One name for each distinct statement: it is parsed once a connection (1.65 × on a key read, 2.2 × on a write). */
export const statementName = (text: string): string | undefined => {
  const known = names.get(text);
  if (known || names.size >= MAX_NAMES) return known;
  const name = `s${names.size}`;
  names.set(text, name);
  return name;
};

/** Kysely names no statement; this client names those with parameters. */
class NamingClient extends pg.Client {
  // biome-ignore lint/suspicious/noExplicitAny: pg's query() has nine overloads; this passes through all but one.
  override query(...args: any[]): any {
    const [text, values] = args;
    if (typeof text === 'string' && Array.isArray(values) && values.length > 0)
      args[0] = { text, name: statementName(text), values };
    // biome-ignore lint/suspicious/noExplicitAny: as above.
    const result = (super.query as any)(...args);
    // After a read time-out pg would go on to use a connection that still owes an answer; and one whose plans are stale, or
    // that leads to a replica, stays so.
    result?.catch?.((error: Error) => isConnectionLoss(error) && this.connection.stream.destroy());
    return result;
  }
}

/** What pg and the operating system say when the server is not there, as opposed to when it said no. */
export const isConnectionLoss = (error: unknown): boolean => {
  const { code, message } = error as { code?: string; message?: string };
  // 08: connection; 57P01-03: shutdown, crash, starting up; 53300: too many connections; 25P03: idle in transaction;
  // 25006: a replica after a fail-over; 0A000: a plan from before a migration. A new connection helps against all of them.
  if (code) return /^(08|57P0[1-5]|53300|25P03|25006|0A000|E[A-Z]+$)/.test(code);
  return /Connection terminated|timeout (exceeded|expired)|Client has encountered|not queryable|Query read timeout/i.test(
    message ?? '',
  );
};

/** A pool that outlives the loss of its connections; the next connect replaces them. */
export const openPool = (config: pg.PoolConfig): pg.Pool => {
  const pool = new pg.Pool(config);
  pool.on('error', () => {});
  // pg-pool listens to idle clients only; one that breaks in a query would end the process.
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
};

export interface Reads {
  readonly db: Kysely<Database>;
  /** True when a trivial query is answered in a second. */
  ping(): Promise<boolean>;
  close(): Promise<void>;
}

/** The pool for reads. One that finds the server away throws `Unavailable`; see `reading`. */
export const connectReads = (connectionString: string, max = 8): Reads => {
  const config = { ...clientConfig(connectionString, ['statement_timeout=4000']), query_timeout: 5_000 };
  const pool = openPool({ ...config, max, Client: NamingClient, idleTimeoutMillis: 30_000 } as pg.PoolConfig);
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
  return {
    db,
    ping: async () => {
      const timeout = new Promise<false>((resolve) => setTimeout(resolve, 1_000, false).unref());
      return Promise.race([
        timeout,
        pool.query('select 1').then(
          () => true,
          () => false,
        ),
      ]);
    },
    close: () => db.destroy(),
  };
};

/** Runs a read; a server that is away becomes `Unavailable`. */
export const reading = async <T>(read: Promise<T>): Promise<T> => {
  try {
    return await read;
  } catch (error) {
    throw isConnectionLoss(error) ? new Unavailable('the database is away', 'nothing_changed', error) : error;
  }
};
