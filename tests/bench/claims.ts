/**
 * Claims a second over HTTP, issued and refused after sold out, beside a bare Fastify POST with the same body, in
 * alternation. Prints no figure when anything served was wrong.
 *
 * npm run bench:claims          embedded Postgres; or DATABASE_URL and REDIS_URL
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import autocannon from 'autocannon';
import { SignJWT } from 'jose';

const ROUNDS = 3;
const CUSTOMERS = 8_000;
const CONNECTIONS = 64;
const SECRET = 'a secret of the benchmark, for nobody else';
const OPERATOR = 'operator-key-of-the-benchmark';
const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'firstcome-bench-'));
const say = (line: string) => process.stdout.write(`${line}\n`);

/** Starts a program and waits for the line that tells its address. */
const start = async (args: readonly string[], env: NodeJS.ProcessEnv, address: RegExp) => {
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface(child.stdout)) {
    const url = address.exec(line)?.[1];
    if (url) {
      child.stdout.resume();
      const stop = async () => {
        child.kill('SIGTERM');
        await once(child, 'exit');
      };
      return { url, stop };
    }
  }
  throw new Error(`${args.join(' ')} did not start`);
};

const run = Date.now().toString(36);
const tokens = await Promise.all(
  Array.from({ length: CUSTOMERS }, (_, i) =>
    new SignJWT({ role: 'customer' })
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuer('firstcome')
      .setAudience('firstcome')
      .setSubject(`bench-${run}-${i}`)
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(SECRET)),
  ),
);

/** Every customer asks once. Requests a second, the 99th percentile in ms, and how often each status was answered. */
const everybody = async (url: string, method: 'GET' | 'POST', path: string) => {
  const statuses = new Map<number, number>();
  const took: number[] = [];
  let next = 0;
  const started = performance.now();
  let last = started;
  const load = autocannon({
    url: url + path,
    connections: CONNECTIONS,
    amount: CUSTOMERS,
    requests: [
      {
        method,
        path,
        setupRequest: (request) => ({ ...request, headers: { authorization: `Bearer ${tokens[next++ % CUSTOMERS]}` } }),
      },
    ],
  });
  load.on('response', (_client, status, _bytes, ms) => {
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
    took.push(ms);
    last = performance.now();
  });
  await load;
  // autocannon itself looks only once a second whether it is done.
  const perSecond = took.length / ((last - started) / 1_000);
  return { perSecond, p99: took.toSorted((a, b) => a - b)[Math.floor(took.length * 0.99)] as number, statuses };
};

const must = (what: string, statuses: Map<number, number>, status: number) => {
  if (statuses.get(status) !== CUSTOMERS)
    throw new Error(`${what}: ${JSON.stringify([...statuses])}, not ${CUSTOMERS} × ${status}`);
};

const service = await start(
  ['app/main.ts'],
  { PORT: '0', DATA_DIR: folder, JWT_SECRET: SECRET, OPERATOR_API_KEY: OPERATOR },
  /"address":"([^"]+)".*"msg":"ready"/,
);
const ask = async (method: string, path: string, token: string, body?: object) => {
  const headers = { authorization: `Bearer ${token}`, ...(body ? { 'content-type': 'application/json' } : {}) };
  const answer = await fetch(service.url + path, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) });
  return (await answer.json()) as { id: string; issued: number };
};
const campaign = (quantity: number) =>
  ask('POST', '/v1/campaigns', OPERATOR, {
    name: 'bench',
    discount: { kind: 'percent', percent: 10 },
    quantity,
    opensAt: new Date(Date.now() - 60_000).toISOString(),
    closesAt: new Date(Date.now() + 3_600_000).toISOString(),
    validDays: 7,
  });

const sample = await campaign(1);
const coupon = await ask('POST', `/v1/campaigns/${sample.id}/claims`, tokens[0] as string);
const bare = await start(['tests/bench/bare.ts', JSON.stringify(coupon)], {}, /(http:\S+)/);
const path = ({ id }: { id: string }) => `/v1/campaigns/${id}/claims`;

try {
  must('first visit', (await everybody(service.url, 'GET', '/v1/me')).statuses, 200);
  const figures = { bare: [] as number[], issued: [] as number[], refused: [] as number[] };
  const p99 = { bare: [] as number[], issued: [] as number[], refused: [] as number[] };
  const note = (what: keyof typeof figures, { perSecond, p99: slow }: { perSecond: number; p99: number }) => {
    figures[what].push(perSecond);
    p99[what].push(slow);
  };
  // The first round warms up.
  for (let round = 0; round <= ROUNDS; round++) {
    const open = await campaign(CUSTOMERS);
    const nothing = await everybody(bare.url, 'POST', path(open));
    must('bare', nothing.statuses, 201);
    const issued = await everybody(service.url, 'POST', path(open));
    must('issued', issued.statuses, 201);
    const after = await ask('GET', `/v1/campaigns/${open.id}`, OPERATOR);
    if (after.issued !== CUSTOMERS) throw new Error(`${after.issued} issued, not ${CUSTOMERS}`);
    const refused = await everybody(service.url, 'POST', path(open));
    must('refused', refused.statuses, 409);
    if (round === 0) continue;
    note('bare', nothing);
    note('issued', issued);
    note('refused', refused);
  }
  const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] as number;
  say(`| ${CONNECTIONS} connections | requests/s (median of ${ROUNDS}) | p99 ms | of the bare POST |`);
  say('|---|---|---|---|');
  for (const [what, values] of Object.entries(figures)) {
    const ratio = median(values) / median(figures.bare);
    say(`| ${what} | ${median(values).toFixed(0)} | ${median(p99[what as 'bare']).toFixed(1)} | ${ratio.toFixed(2)} |`);
  }
} finally {
  await Promise.all([service.stop(), bare.stop()]);
  rmSync(folder, { recursive: true, force: true });
}
