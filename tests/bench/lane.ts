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
import pg from 'pg';
import { pino } from 'pino';
import { newUuid } from '../../adapters/system/system.ts';
import { compose } from '../../app/compose.ts';
import { readConfig } from '../../app/config.ts';
import { startPostgres } from '../support/servers.ts';

const SECONDS = 3;
const ROUNDS = 3;
const CUSTOMERS = 200;
const say = (line: string) => process.stdout.write(`${line}\n`);

const folder = mkdtempSync(join(tmpdir(), 'firstcome-bench-'));
// With more connections than the embedded default allows: pgbench wants up to 128.
const postgres = process.env.DATABASE_URL ? null : await startPostgres({ fsync: true });
const url = process.env.DATABASE_URL ?? (postgres?.url as string);
const limits = { CHARGE_MAX: '1000000000', CHARGE_MIN: '1', CHARGE_STEP: '1' };
const config = readConfig({ ...process.env, ...limits, DATABASE_URL: url });
const service = await compose(config, pino({ level: 'warn' }));
const { shop } = service;
const database = new pg.Client({ connectionString: url });
await database.connect();

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

const ours = async (workers: number): Promise<Figure> => {
  const took: number[] = [];
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
  return { perSecond: took.length / seconds, p99: took[Math.floor(took.length * 0.99)] as number };
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
  const { rows } = await database.query(
    `select (select count(*) from orders) as orders, (select count(*) from orders where payment_id is not null) as paid,
      (select count(*) from transfers where kind = 'payment') as transfers,
      $1 - (select stock from skus where sku = 'BENCH-HOT') as taken,
      $2 - (select sum(balance)::bigint from accounts) as money`,
    [STOCK, CUSTOMERS * 1_000_000_000],
  );
  const [counted] = rows;
  const figures = new Set(Object.values(counted).map(Number));
  if (figures.size !== 1) throw new Error(`what was served is wrong: ${JSON.stringify(counted)}`);
  return counted.orders;
};

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] as number;
try {
  await ours(32); // warm
  await database.query('analyze');
  say('| at once | ours, orders/s | p99 ms | pgbench, orders/s | p99 ms | ratio |');
  say('|---|---|---|---|---|---|');
  for (const workers of [1, 32, 128]) {
    const mine: Figure[] = [];
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
      median(mine.map(({ p99 }) => p99)).toFixed(1),
      their?.toFixed(0) ?? 'no pgbench',
      their ? median(theirs.map(({ p99 }) => p99)).toFixed(1) : '',
      their ? (our / their).toFixed(1) : '',
    ];
    say(`| ${cells.join(' | ')} |`);
  }
  say(`checked: ${await check()} orders = payments = transfers = pieces taken = won moved`);
} finally {
  await database.end();
  await service.close();
  await postgres?.stop();
  rmSync(folder, { recursive: true, force: true });
}
