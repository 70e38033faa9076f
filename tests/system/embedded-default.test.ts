import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readdir, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { readConfig } from '../../app/config.ts';
import { freshDatabase } from '../support/servers.ts';
import {
  connect,
  embeddedPostgresOf,
  expected,
  isAlive,
  newDirectory,
  runService,
  type Service,
  startService,
  until,
} from '../support/service.ts';

const sh = promisify(execFile);

/** What the banner says. */
const bannerOf = async (service: Service) => {
  await until(() => service.output().includes('curl'));
  const line = (pattern: RegExp) => pattern.exec(service.output())?.[1] as string;
  return {
    address: line(/^ {2}firstcome +(\S+)$/m),
    docs: line(/^ {2}docs +(\S+)$/m),
    operatorKey: line(/^ {2}operator +(\S+)$/m),
    curl: line(/^ {2}(curl .*)$/m),
  };
};

describe('a start with nothing configured', () => {
  let dataDir: string;
  let service: Service;
  let banner: Awaited<ReturnType<typeof bannerOf>>;
  let sku: string;
  let customer: { email: string; password: string; token: string };

  beforeAll(async () => {
    dataDir = join(await newDirectory(), 'not', 'yet', 'there');
    service = await startService({ DATA_DIR: dataDir });
    banner = await bannerOf(service);
  });
  afterAll(() => service.kill('SIGTERM'));

  test('prints its address and a docs page that needs nothing from elsewhere', async () => {
    expect(banner.address).toBe(service.url);
    expect(banner.address).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    const page = await fetch(banner.docs);
    expect([page.status, page.headers.get('content-type')]).toEqual([200, expect.stringContaining('text/html')]);
    const html = await page.text();
    expect(html).not.toMatch(/(src|href)="(https?:)?\/\//);
    const assets = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => new URL(path as string, page.url));
    expect(assets.length).toBeGreaterThan(0);
    const answers = await Promise.all(assets.map(async (asset) => [asset.pathname, (await fetch(asset)).status]));
    expect(answers).toEqual(assets.map(({ pathname }) => [pathname, 200]));
    expect((await connect(service.url).get('/docs/json')).body.openapi).toBe('3.1.0');
  });

  test('prints a curl line that shows the demo shop', async () => {
    const { stdout } = await sh('/bin/sh', ['-c', banner.curl]);
    const { items } = JSON.parse(stdout);
    expect(items).toHaveLength(3);
    for (const { variants } of items) expect(variants[0]).toMatchObject({ price: expect.any(Number), stock: expect.any(Number) });
  });

  test('prints an operator key that works, and lets customers register and buy', async () => {
    sku = 'MADE-BY-OPERATOR';
    await expected(connect(service.url, banner.operatorKey).product(sku, 2_000, 5));
    expect((await connect(service.url, `${banner.operatorKey}x`).product('OTHER', 2_000, 5)).status).toBe(401);
    customer = { email: 'mina@example.com', password: 'canary-of-a-password', token: '' };
    await expected(connect(service.url).register(customer.email, customer.password));
    const { accessToken } = await expected(connect(service.url).logIn(customer.email, customer.password));
    customer.token = accessToken;
    const mine = connect(service.url, accessToken);
    await expected(mine.charge(10_000));
    expect(await expected(mine.order({ [sku]: 2 }, { pay: true }))).toMatchObject({ status: 'paid', total: 4_000 });
  });

  test('keeps its directory to itself, and passwords and tokens out of what it prints', async () => {
    expect((await stat(dataDir)).mode & 0o007).toBe(0);
    expect(await readdir(dataDir)).toEqual(['postgres']);
    expect(service.output()).not.toContain(customer.password);
    expect(service.output()).not.toContain(customer.token);
  });

  test('is the only one on its directory: a second start is refused in one sentence', async () => {
    const second = runService({ DATA_DIR: dataDir });
    expect(await second.exited).toEqual({ code: 1, signal: null });
    expect(second.output()).toMatch(
      new RegExp(
        `^firstcome cannot start: The database in \\S+ is in use by process ${service.pid}\\. Stop it, or use another .*\\n$`,
      ),
    );
    expect((await connect(service.url).get('/readyz')).status).toBe(200);
  });

  test('ends with exit code 0 and takes its Postgres along; the next start has the data, the key and the log-ins', async () => {
    const { pid } = await embeddedPostgresOf(dataDir);
    expect(await service.kill('SIGTERM')).toEqual({ code: 0, signal: null });
    expect(isAlive(pid)).toBe(false);

    service = await startService({ DATA_DIR: dataDir });
    expect((await bannerOf(service)).operatorKey).toBe(banner.operatorKey);
    const mine = connect(service.url, customer.token);
    expect(await mine.balance()).toBe(6_000);
    expect((await mine.get('/v1/orders')).body.items).toMatchObject([{ status: 'paid', lines: [{ sku, quantity: 2 }] }]);
    const { items } = (await mine.get('/v1/products?limit=100')).body;
    expect(items.filter(({ name }: { name: string }) => name === 'Enamel mug')).toHaveLength(1);
    expect(items.find(({ name }: { name: string }) => name === sku).variants[0].stock).toBe(3);
  });

  test('ends when its Postgres is gone, and says what to do; the next start has everything', async () => {
    process.kill((await embeddedPostgresOf(dataDir)).pid, 'SIGKILL');
    expect(await service.exited).toEqual({ code: 1, signal: null });
    expect(service.output()).toContain('the embedded Postgres is gone; start again');
    service = await startService({ DATA_DIR: dataDir });
    expect(await connect(service.url, customer.token).balance()).toBe(6_000);
  });

  test('a port that is taken: refused in one sentence, and no Postgres stays behind', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    const own = await newDirectory();
    const late = runService({ DATA_DIR: own, PORT: String(port), LOG_LEVEL: 'silent' });
    expect(await late.exited).toEqual({ code: 1, signal: null });
    taken.close();
    expect(late.output()).toBe(`firstcome cannot start: port ${port} is taken; set PORT to another one\n`);
    expect(await readdir(join(own, 'postgres'))).not.toContain('postmaster.pid');
  });
});

describe('bad configuration', () => {
  const bad: [string, string[], string][] = [
    ['PORT', ['-1', '65536', '80.5', '0x50', 'http', ' 80'], 'a port, 0 to 65535 (0: any free one)'],
    ['ROLE', ['API', 'both', 'api,worker'], 'api, worker or all'],
    ['DATABASE_URL', ['mysql://localhost/shop', 'localhost:5432', 'shop'], 'postgres://…'],
    ['REDIS_URL', ['localhost:6379', 'http://localhost'], 'redis://… or rediss://…'],
    [
      'OPERATOR_API_KEY',
      ['short', 'with a space in the middle', 'ключ-ключ-ключ-ключ', 'x'.repeat(257)],
      '16 to 256 visible characters',
    ],
    ['JWT_SECRET', ['x'.repeat(31)], 'at least 32 characters'],
    ['JWT_JWKS_URL', ['keys', 'ftp://id.example.com/keys', 'http://id.example.com/keys'], 'https://… (http:// on loopback)'],
    ['SHOP_TIME_ZONE', ['Seoul', 'Mars/Olympus'], 'an IANA time zone such as Asia/Seoul'],
    ['LOG_LEVEL', ['loud', 'INFO'], 'fatal, error, warn, info, debug, trace or silent'],
    ['RATE_LIMIT', ['-1', '1e3', '100001'], 'requests a second for each subject, 0 to 100000 (0: no limit)'],
    ['CHARGE_MIN', ['0', '-1', '0.5', '1000000000001'], 'whole won'],
    ['CHARGE_MAX', ['0', 'much'], 'whole won'],
    ['CHARGE_STEP', ['0', '1_000'], 'whole won'],
    ['CHARGES_PER_DAY', ['0', '1000001'], 'a count, 1 to 1000000'],
    ['CHARGES_PER_MONTH', ['0', 'ten'], 'a count, 1 to 1000000'],
    ['ORDER_TTL_SECONDS', ['0', '604801', '10m'], 'seconds, 1 to 604800'],
    ['SESSION_TTL_DAYS', ['0', '366'], 'days, 1 to 365'],
    ['SHUTDOWN_DELAY_SECONDS', ['-1', '21'], 'seconds between /readyz saying no and the last request, 0 to 20'],
  ];
  test.each(bad)('%s: each bad value is refused by name, with what is allowed', (name, values, allowed) => {
    for (const value of values) expect(() => readConfig({ [name]: value }), value).toThrow(`${name} must be ${allowed}`);
  });

  test.each([
    [{ HOST: '0.0.0.0' }, 'HOST must be a loopback address for the embedded default; set DATABASE_URL to serve others'],
    [{ HOST: '::' }, 'HOST must be a loopback address for the embedded default; set DATABASE_URL to serve others'],
    [
      { JWT_SECRET: 'x'.repeat(32), JWT_JWKS_URL: 'https://id.example.com/keys' },
      'JWT_SECRET and JWT_JWKS_URL exclude each other',
    ],
    [{ CHARGE_MIN: '2000', CHARGE_MAX: '1000' }, 'CHARGE_MIN must not be above CHARGE_MAX'],
  ])('%o is refused', (environment, says) => {
    expect(() => readConfig(environment)).toThrow(says);
  });

  test('an empty value is none, and others may be served with a database of their own', () => {
    expect(readConfig({ PORT: '', HOST: '' })).toMatchObject({ PORT: 3000, HOST: '127.0.0.1' });
    expect(readConfig({ HOST: '0.0.0.0', DATABASE_URL: 'postgres://db/shop' }).HOST).toBe('0.0.0.0');
    expect(readConfig({ JWT_JWKS_URL: 'http://127.0.0.1:8080/keys' }).JWT_JWKS_URL).toBe('http://127.0.0.1:8080/keys');
  });

  test('stops the start with one sentence that names them all, before anything is made', async () => {
    const dir = join(await newDirectory(), 'data');
    const service = runService({ DATA_DIR: dir, PORT: 'http', HOST: '0.0.0.0', JWT_SECRET: 'canary' });
    expect(await service.exited).toEqual({ code: 1, signal: null });
    expect(service.output()).toMatch(/^firstcome cannot start: the configuration is wrong: .*\n$/);
    for (const name of ['PORT', 'HOST', 'JWT_SECRET']) expect(service.output()).toContain(`${name} must be`);
    expect(service.output()).not.toContain('canary');
    await expect(stat(dir)).rejects.toThrow('ENOENT');
  });

  // Says "migration  failed" and nothing else: Kysely's error has neither name nor cause here.
  test('a database that does not answer stops the start with a sentence that says so', async () => {
    const service = runService({ DATABASE_URL: 'postgres://shop:canary@127.0.0.1:1/shop' });
    expect(await service.exited).toEqual({ code: 1, signal: null });
    expect(service.output()).toMatch(/^firstcome cannot start: .*(DATABASE_URL|database|ECONNREFUSED).*\n$/);
    expect(service.output()).not.toContain('canary');
  });
});

describe('on a database', () => {
  let database: Awaited<ReturnType<typeof freshDatabase>>;
  beforeAll(async () => {
    database = await freshDatabase(inject('databaseUrl'));
  });
  afterAll(() => database.drop());

  test('ROLE=worker serves probes only', async () => {
    const service = await startService({ DATABASE_URL: database.url, ROLE: 'worker' });
    const { get, register } = connect(service.url);
    const statuses = async (paths: string[]) => Promise.all(paths.map(async (path) => (await get(path)).status));
    expect(await statuses(['/healthz', '/readyz', '/metrics'])).toEqual([200, 200, 200]);
    expect(await statuses(['/v1/products', '/v1/me', '/docs', '/docs/json'])).toEqual([404, 404, 404, 404]);
    expect((await register('mina@example.com', 'correct horse')).status).toBe(404);
    expect(await service.kill('SIGTERM')).toEqual({ code: 0, signal: null });
  });

  test('SIGTERM beside idle connections: they do not hold up the end', async () => {
    const service = await startService({ DATABASE_URL: database.url });
    const { get } = connect(service.url);
    await Promise.all(Array.from({ length: 10 }, () => get('/v1/products')));
    expect(await service.kill('SIGTERM')).toEqual({ code: 0, signal: null });
  });

  // Answers to what was under way at SIGTERM keep their connections open, which hold up the end for 30 s; then exit code 1.
  test('SIGTERM under load: nobody who asked is left without an answer, exit code 0', async () => {
    const service = await startService({ DATABASE_URL: database.url, SHUTDOWN_DELAY_SECONDS: '1' });
    const { get } = connect(service.url);
    const left: string[] = [];
    let answered = 0;
    /** Asks on and on, until told that the connection ends, or until there is nobody to connect to. */
    const load = async () => {
      for (;;) {
        const answer = await get('/v1/products').catch((error) => String(error.cause?.code ?? error));
        if (answer === 'ECONNREFUSED') return;
        if (typeof answer === 'string' || answer.status !== 200) return void left.push(JSON.stringify(answer));
        answered++;
        if (answer.headers.get('connection') === 'close') return;
        if (answered === 500) service.kill('SIGTERM');
      }
    };
    await Promise.all(Array.from({ length: 40 }, load));
    expect(left).toEqual([]);
    await until(() => service.hasExited(), 5);
    expect(await service.exited).toEqual({ code: 0, signal: null });
  });
});
