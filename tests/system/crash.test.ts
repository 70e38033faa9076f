import { randomInt, randomUUID } from 'node:crypto';
import { rename, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { audit, contradictions, effectsIn, query, startHistory } from '../support/history.ts';
import { type OwnServer, startPostgres } from '../support/servers.ts';
import {
  type Answer,
  type Client,
  connect,
  embeddedPostgresOf,
  expected,
  isAlive,
  mintToken,
  newDirectory,
  type Service,
  startService,
  until,
} from '../support/service.ts';

const JWT_SECRET = 'a-secret-for-tests-of-32-characters-and-more';
const OPERATOR_API_KEY = 'fc_operator_key-for-tests-0123456789';
const BUYERS = 30;
const STOCK = 100;
const READERS = 8;

/** A shop that crashes. `service()` waits while it is down. */
interface Shop {
  service(): Promise<Service>;
  databaseUrl(): Promise<string>;
}
type Crash = () => Promise<unknown>;

/** The service, which must be alive: whoever kills it puts the next one in its place first. */
const alive = async (service: Promise<Service>): Promise<Service> => {
  const one = await service;
  if (one.hasExited()) throw new Error(`the service ended: ${one.output().slice(-2_000)}`);
  return one;
};

/**
 * 30 customers buy one piece after the other until all 100 are sold: one half pays in the same commit, one half afterwards.
 * What they are not told they ask again with the same key. Each crash comes at a random moment of its own.
 */
const sellOut = async (shop: Shop, crashes: readonly Crash[]) => {
  const url = async () => (await shop.service()).url;
  const sku = `SKU-${randomUUID().slice(0, 8)}`;
  const product = await expected(connect(await url(), OPERATOR_API_KEY).product(sku, 1_000, STOCK));
  const { history, ask, resolve } = startHistory();
  const tokens = new Map<string, string>();
  for (let i = 0; i < BUYERS; i++) {
    const proc = randomUUID();
    tokens.set(proc, await mintToken(JWT_SECRET, proc));
  }

  // A charge, an order and half a payment for each: the sale has about 210 commands.
  const span = Math.floor(150 / crashes.length);
  const moments = crashes.map((_, i) => 10 + i * span + randomInt(span));
  const underWay: Promise<unknown>[] = [];
  let answered = 0;
  let crashing = false;
  const crashWhenDue = () => {
    const crash = crashes[underWay.length];
    if (crashing || !crash || answered < (moments[underWay.length] as number)) return;
    crashing = true;
    const over = crash().finally(() => {
      crashing = false;
    });
    over.catch(() => {});
    underWay.push(over);
  };
  const buy = async (proc: string, payAtOnce: boolean) => {
    const client = async (): Promise<Client> => connect(await url(), tokens.get(proc));
    const does = async (
      op: 'charge' | 'order' | 'payment',
      args: object,
      call: (client: Client, key: string) => Promise<Answer>,
    ) => {
      const operation = await resolve({ proc, op, args }, shop.service, async (key) => call(await client(), key));
      answered++;
      crashWhenDue();
      return operation;
    };
    expect(await does('charge', { amount: 100_000 }, (client, key) => client.charge(100_000, key))).toMatchObject({ type: 'ok' });
    for (;;) {
      const { type, value } = await does('order', { [sku]: 1 }, (client, key) =>
        client.order({ [sku]: 1 }, { pay: payAtOnce, key }),
      );
      if (type === 'fail') return expect(value.code).toBe('insufficient_stock');
      if (!payAtOnce) {
        const payment = await does('payment', { orderId: value.id }, (client, key) => client.pay(value.id, key));
        expect(payment).toMatchObject({ type: 'ok' });
      }
    }
  };
  let selling = true;
  const watch = async () => {
    while (selling) {
      const base = await url();
      const read = async () => {
        const answer = await connect(base).get(`/v1/products/${product.id}`);
        return answer.status === 200 ? { ...answer, body: answer.body.variants[0].stock } : answer;
      };
      await ask({ proc: 'reader', op: 'read', args: { sku } }, '', read);
    }
  };
  const watching = Array.from({ length: READERS }, watch);
  for (const reader of watching) reader.catch(() => {});
  try {
    await Promise.all([...tokens.keys()].map((proc, i) => buy(proc, i % 2 === 0)));
  } finally {
    selling = false;
    await Promise.allSettled([...watching, ...underWay]);
  }
  await Promise.all(underWay);

  const says = `crashed after ${moments} answers`;
  expect(underWay, says).toHaveLength(crashes.length);
  const databaseUrl = await shop.databaseUrl();
  const effects = (await effectsIn(databaseUrl)).filter(({ proc }) => tokens.has(proc));
  expect(contradictions(history, effects, { [sku]: STOCK }), says).toEqual([]);
  expect(await audit(databaseUrl), says).toEqual([]);
  const [sold] = await query(
    databaseUrl,
    `select count(*)::int as orders, count(payment_id)::int as paid, sum(quantity)::int as pieces
     from orders join order_lines on orders.id = order_id where sku = '${sku}'`,
  );
  expect(sold, says).toEqual({ orders: STOCK, paid: STOCK, pieces: STOCK });
  expect((await connect(await url()).get(`/v1/products/${product.id}`)).body.variants[0].stock).toBe(0);
};

describe('on the embedded default', () => {
  let dataDir: string;
  let service: Promise<Service>;
  const start = () => startService({ DATA_DIR: dataDir, JWT_SECRET, OPERATOR_API_KEY });
  const shop: Shop = {
    service: () => alive(service),
    databaseUrl: async () => (await embeddedPostgresOf(dataDir)).url,
  };
  /** Kills the service with whatever else, and starts it again. */
  const crash = async (alsoKill: () => Promise<number[]> = async () => []) => {
    const dying = await service;
    const others = await alsoKill();
    service = Promise.all([dying.kill('SIGKILL'), ...others.map((pid) => process.kill(pid, 'SIGKILL'))]).then(start);
    await service;
  };
  beforeAll(async () => {
    dataDir = await newDirectory();
    service = start();
    await service;
  });
  afterAll(async () => {
    await (await service).kill('SIGTERM');
  });

  test('kill -9 of the service, again and again: all that was acknowledged is there, once', async () => {
    await sellOut(shop, [() => crash(), () => crash()]);
  });
  test('kill -9 of the service and of its Postgres together', async () => {
    const everything = () => crash(async () => [(await embeddedPostgresOf(dataDir)).pid]);
    await sellOut(shop, [everything, everything]);
  });
});

describe('on a Postgres of its own', () => {
  let dataDir: string;
  let address: string;
  let postgres: OwnServer;
  let service: Promise<Service>;
  const databaseUrl = () => `postgresql:///firstcome?host=${encodeURIComponent(address)}&port=5432&user=postgres`;
  const shop: Shop = { service: () => alive(service), databaseUrl: async () => databaseUrl() };

  /** Behind one address, wherever its socket is after a start. */
  const startDatabase = async () => {
    postgres = await startPostgres({ fsync: true, dataDir });
    const sockets = new URL(postgres.url).searchParams.get('host') as string;
    await symlink(sockets, `${address}.new`);
    await rename(`${address}.new`, address);
  };
  const startShop = () => startService({ DATABASE_URL: databaseUrl(), JWT_SECRET, OPERATOR_API_KEY });
  const readiness = async (): Promise<number> => (await connect((await alive(service)).url).get('/readyz')).status;
  const backends = (): Promise<{ pid: number }[]> =>
    query(databaseUrl(), `select pid from pg_stat_activity where application_name = 'firstcome'`);

  const killService = async () => {
    const dying = await service;
    service = dying.kill('SIGKILL').then(startShop);
    await service;
  };
  const killPostgres = async () => {
    process.kill(postgres.pid, 'SIGKILL');
    await postgres.stop();
    await until(async () => (await readiness()) === 503);
    await startDatabase();
    await until(async () => (await readiness()) === 200);
  };

  beforeAll(async () => {
    [dataDir, address] = [await newDirectory(), join(await newDirectory(), 'postgres')];
    await startDatabase();
    service = startShop();
    await service;
  });
  // Whatever a failed test left.
  beforeEach(async () => {
    if (!isAlive(postgres.pid)) await startDatabase();
    await (await service).kill('SIGKILL');
    service = startShop();
    await service;
  });
  afterAll(async () => {
    await (await service).kill('SIGTERM');
    await postgres.stop();
  });

  test('kill -9 of the service, again and again: all that was acknowledged is there, once', async () => {
    await sellOut(shop, [killService, killService, killService]);
  });

  test('kill -9 of Postgres: the service stays, says that it is not ready, and recovers by itself', async () => {
    const { pid } = await service;
    await sellOut(shop, [killPostgres, killPostgres]);
    expect((await service).pid).toBe(pid);
    expect(await readiness()).toBe(200);
  });

  test('kill -9 of one connection of Postgres, which then restarts by itself', async () => {
    const killBackend = async () => {
      const [backend] = await backends();
      process.kill((backend as { pid: number }).pid, 'SIGKILL');
      await until(async () => (await readiness()) === 200);
    };
    await sellOut(shop, [killBackend, killBackend]);
  });

  test('connections cut in the middle of whatever they do: a commit without a reply is not executed again', async () => {
    const cut = () =>
      query(databaseUrl(), `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'firstcome'`);
    for (let round = 0; round < 3; round++) await sellOut(shop, [cut, cut, cut]);
  });

  test('service and Postgres killed together', async () => {
    const killBoth = async () => {
      const dying = await service;
      const died = Promise.all([dying.kill('SIGKILL'), process.kill(postgres.pid, 'SIGKILL')]);
      service = died
        .then(() => postgres.stop())
        .then(startDatabase)
        .then(startShop);
      await service;
    };
    await sellOut(shop, [killBoth, killBoth]);
  });
});
