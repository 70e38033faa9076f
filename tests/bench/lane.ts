/**
 * Orders a second placed and paid through the core's Transact on Postgres, one hot product, beside pgbench doing the same
 * statement by statement on the same server, in alternation. Prints no figure when anything served was wrong.
 *
 * npm run bench:lane            embedded Postgres 18, fsync on; or DATABASE_URL (an empty database)
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { postgresAccounts } from '../../adapters/postgres/accounts.ts';
import { postgresCarts } from '../../adapters/postgres/carts.ts';
import { connectReads } from '../../adapters/postgres/connection.ts';
import { postgresCustomers } from '../../adapters/postgres/customers.ts';
import { startEmbeddedPostgres } from '../../adapters/postgres/embedded.ts';
import { migrate } from '../../adapters/postgres/migrate.ts';
import { postgresOrders } from '../../adapters/postgres/orders.ts';
import { postgresProducts } from '../../adapters/postgres/products.ts';
import { postgresTransact } from '../../adapters/postgres/transact.ts';
import { argon2Passwords, calendar, newUuid } from '../../adapters/system/system.ts';
import { won } from '../../core/shared/money.ts';
import { hours, minutes } from '../../core/shared/time.ts';
import { createShop } from '../../core/shop.ts';

const SECONDS = 3;
const ROUNDS = 3;
const CUSTOMERS = 200;
const say = (line: string) => process.stdout.write(`${line}\n`);

const folder = mkdtempSync(join(tmpdir(), 'firstcome-bench-'));
const given = process.env.DATABASE_URL;
const embedded = given ? null : await startEmbeddedPostgres({ dataDir: folder, maxConnections: 200 });
const url = given ?? (embedded?.connectionString as string);
const reads = connectReads(url);
await migrate(reads);
const { transact, stats, close } = postgresTransact(url);
const shop = createShop({
  transact,
  lock: (_name, work) => work(1),
  passwords: argon2Passwords(),
  customers: postgresCustomers(reads),
  products: postgresProducts(reads),
  accounts: postgresAccounts(reads),
  carts: postgresCarts(reads),
  orders: postgresOrders(reads),
  newId: newUuid,
  shopDay: calendar('Asia/Seoul'),
  policy: {
    charge: { min: won(1), max: won(1_000_000_000), step: won(1), perDay: 10, perMonth: 10 },
    orderTtl: minutes(10),
    sessionTtl: hours(1),
  },
});

const STOCK = 100_000_000;
const variant = { sku: 'BENCH-HOT', name: 'Hot', price: 1, stock: STOCK };
const operator = { actor: { subject: 'bench', role: 'operator' as const } };
await shop.catalog.create(operator, { name: 'Hot', category: 'bench', status: 'on_sale', variants: [variant] });
const customers = Array.from({ length: CUSTOMERS }, (_, i) => ({ subject: `bench-${i + 1}`, role: 'customer' as const }));
await Promise.all(customers.map((actor) => shop.balance.charge({ actor }, { amount: 1_000_000_000 })));

interface Figure {
  readonly perSecond: number;
  readonly p99: number;
}

const ours = async (workers: number): Promise<Figure & { batch: number }> => {
  const took: number[] = [];
  const before = { ...stats };
  const started = performance.now();
  await Promise.all(
    Array.from({ length: workers }, async (_, worker) => {
      for (let i = worker; performance.now() - started < SECONDS * 1_000; i += workers) {
        const actor = customers[i % CUSTOMERS] as (typeof customers)[number];
        const once = { subject: actor.subject, operation: 'POST /v1/orders', key: newUuid(), fingerprint: 'f', requestId: 'r' };
        const asked = performance.now();
        await shop.orders.place({ actor, once }, { items: [{ sku: 'BENCH-HOT', quantity: 1 }], pay: 'balance' });
        took.push(performance.now() - asked);
      }
    }),
  );
  const seconds = (performance.now() - started) / 1_000;
  took.sort((a, b) => a - b);
  return {
    perSecond: took.length / seconds,
    p99: took[Math.floor(took.length * 0.99)] as number,
    batch: (stats.commands - before.commands) / (stats.batches - before.batches),
  };
};

const pgbench = (workers: number): Figure | null => {
  const target = new URL(url);
  const env = {
    ...process.env,
    PGHOST: target.searchParams.get('host') ?? target.hostname,
    PGPORT: target.searchParams.get('port') ?? (target.port || '5432'),
    PGUSER: target.searchParams.get('user') ?? target.username,
    PGPASSWORD: target.password,
    PGDATABASE: target.pathname.slice(1),
  };
  const script = join(import.meta.dirname, 'place-and-pay.sql');
  const log = join(folder, `pgbench-${workers}-${Date.now()}`);
  const args = [
    '-n',
    '-M',
    'prepared',
    '-c',
    String(workers),
    '-j',
    '2',
    '-T',
    String(SECONDS),
    '-f',
    script,
    '-l',
    '--log-prefix',
    log,
  ];
  try {
    const output = execFileSync('pgbench', args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
    const times = execFileSync('sh', ['-c', `cat ${log}.* | cut -d' ' -f3`], { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map(Number)
      .sort((a, b) => a - b);
    return {
      perSecond: Number(/tps = ([\d.]+)/.exec(output)?.[1]),
      p99: (times[Math.floor(times.length * 0.99)] as number) / 1_000,
    };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
};

/** Everything served, on the books: or no figure. */
const check = async () => {
  const { rows } = await sql<{ orders: number; paid: number; transfers: number; taken: number; money: number }>`
    select (select count(*) from orders) as orders, (select count(*) from orders where payment_id is not null) as paid,
      (select count(*) from transfers where kind = 'payment') as transfers,
      ${STOCK}::bigint - (select stock from skus where sku = 'BENCH-HOT') as taken,
      ${CUSTOMERS * 1_000_000_000}::bigint - (select sum(balance)::bigint from accounts) as money`.execute(reads.db);
  const [counted] = rows;
  const figures = new Set(Object.values(counted ?? {}));
  if (figures.size !== 1) throw new Error(`what was served is wrong: ${JSON.stringify(counted)}`);
  return counted?.orders;
};

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] as number;
try {
  await ours(32); // warm
  await sql`analyze`.execute(reads.db);
  say('| at once | ours, orders/s | batch | p99 ms | pgbench, orders/s | p99 ms | ratio |');
  say('|---|---|---|---|---|---|---|');
  for (const workers of [1, 32, 128]) {
    const mine: (Figure & { batch: number })[] = [];
    const theirs: Figure[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      mine.push(await ours(workers));
      const other = pgbench(workers);
      if (other) theirs.push(other);
    }
    await check();
    const our = median(mine.map(({ perSecond }) => perSecond));
    const their = theirs.length > 0 ? median(theirs.map(({ perSecond }) => perSecond)) : null;
    const cells = [
      workers,
      our.toFixed(0),
      median(mine.map(({ batch }) => batch)).toFixed(1),
      median(mine.map(({ p99 }) => p99)).toFixed(1),
      their?.toFixed(0) ?? 'no pgbench',
      their ? median(theirs.map(({ p99 }) => p99)).toFixed(1) : '',
      their ? (our / their).toFixed(1) : '',
    ];
    say(`| ${cells.join(' | ')} |`);
  }
  say(`checked: ${await check()} orders = payments = transfers = pieces taken = won moved`);
} finally {
  await close();
  await reads.close();
  await embedded?.stop();
  rmSync(folder, { recursive: true, force: true });
}
