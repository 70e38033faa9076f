import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { createMetrics } from '../adapters/http/metrics.ts';
import { createServer } from '../adapters/http/server.ts';
import { memoryClaimQueue } from '../adapters/memory/claim-queue.ts';
import { memoryGate } from '../adapters/memory/gate.ts';
import { memoryLock } from '../adapters/memory/lock.ts';
import { postgresAccounts } from '../adapters/postgres/accounts.ts';
import { postgresCarts } from '../adapters/postgres/carts.ts';
import { postgresClaimLog } from '../adapters/postgres/claim-log.ts';
import { connectReads } from '../adapters/postgres/connection.ts';
import { postgresCoupons } from '../adapters/postgres/coupons.ts';
import { postgresCustomers } from '../adapters/postgres/customers.ts';
import { startEmbeddedPostgres } from '../adapters/postgres/embedded.ts';
import { purge, sharedSecret } from '../adapters/postgres/housekeeping.ts';
import { migrate } from '../adapters/postgres/migrate.ts';
import { postgresOrders } from '../adapters/postgres/orders.ts';
import { postgresProducts } from '../adapters/postgres/products.ts';
import { postgresTransact } from '../adapters/postgres/transact.ts';
import { redisClaimQueue } from '../adapters/redis/claim-queue.ts';
import { connectRedis } from '../adapters/redis/connection.ts';
import { redisGate } from '../adapters/redis/gate.ts';
import { redisLock } from '../adapters/redis/lock.ts';
import { argon2Passwords, calendar, claimId, newUuid, systemClock } from '../adapters/system/system.ts';
import type { Policy } from '../core/ports.ts';
import { won } from '../core/shared/money.ts';
import { hours } from '../core/shared/time.ts';
import { createShop, type Shop } from '../core/shop.ts';
import type { Config } from './config.ts';

const PURGE_EVERY = hours(1);
/** Milliseconds between two looks for unpaid orders whose time is over. */
const SWEEP_EVERY = 1_000;
const PRODUCT_VERSION = '0.1.0';

export interface Service {
  readonly shop: Shop;
  readonly app: FastifyInstance;
  readonly operatorApiKey: string | null;
  /** Resolves when the embedded Postgres is gone without having been told to; never without one. */
  readonly broken: Promise<void>;
  /** /readyz says no from now on. */
  readonly closing: () => void;
  /** Answers what was asked, then lets go of everything. */
  readonly close: () => Promise<void>;
}

const policyOf = (config: Config): Policy => ({
  charge: {
    min: won(config.CHARGE_MIN),
    max: won(config.CHARGE_MAX),
    step: won(config.CHARGE_STEP),
    perDay: config.CHARGES_PER_DAY,
    perMonth: config.CHARGES_PER_MONTH,
  },
  discountCap: config.DISCOUNT_CAP_PERCENT,
  orderTtl: config.ORDER_TTL_SECONDS * 1_000,
  sessionTtl: hours(24 * config.SESSION_TTL_DAYS),
});

/** Repeats `work` with so many milliseconds in between, until it is stopped; stopping waits for what runs. */
const every = (pause: number, work: () => Promise<void>, logger: Logger): (() => Promise<void>) => {
  const stopping = new AbortController();
  const repeat = async () => {
    while (!stopping.signal.aborted) {
      await work().catch((error: unknown) => logger.warn({ err: error }, 'upkeep failed; it is tried again'));
      await delay(pause * (0.5 + Math.random()), undefined, { signal: stopping.signal, ref: false }).catch(() => {});
    }
  };
  const running = repeat();
  return () => {
    stopping.abort();
    return running;
  };
};

/** The whole service, wired by hand: the one place that constructs adapters. */
export const compose = async (config: Config, logger: Logger): Promise<Service> => {
  const embedded = config.DATABASE_URL ? null : await startEmbeddedPostgres({ dataDir: resolve(config.DATA_DIR) });
  const databaseUrl = config.DATABASE_URL ?? (embedded?.connectionString as string);
  await migrate(databaseUrl);
  const reads = connectReads(databaseUrl);
  const secret = () => randomBytes(32).toString('base64url');
  const keys = config.JWT_JWKS_URL
    ? { jwksUrl: config.JWT_JWKS_URL }
    : { secret: config.JWT_SECRET ?? (await sharedSecret(reads, 'jwt', secret)) };
  const operatorApiKey =
    config.OPERATOR_API_KEY ?? (embedded ? await sharedSecret(reads, 'operator_api_key', () => `fc_operator_${secret()}`) : null);

  const { transact, stats, close: closeLane } = postgresTransact(databaseUrl);
  const redis = config.REDIS_URL ? connectRedis(config.REDIS_URL, logger) : null;

  const coupons = postgresCoupons(reads);
  const { holders: load, issuedCount, holdersAmong: issuedTo } = coupons;
  const redisDoor = redis && redisGate(redis, { load, issuedCount, issuedTo });
  const claimQueue = redis ? redisClaimQueue(redis, logger) : memoryClaimQueue({ log: logger });
  const claimLog = postgresClaimLog(reads, logger);

  const shop = createShop({
    transact,
    coupons,
    gate: redisDoor ?? memoryGate({ load, now: systemClock }),
    claimLog,
    claimQueue,
    claimId,
    now: systemClock,
    lock: redis ? redisLock(redis) : memoryLock(),
    passwords: argon2Passwords(),
    customers: postgresCustomers(reads),
    products: postgresProducts(reads),
    accounts: postgresAccounts(reads),
    carts: postgresCarts(reads),
    orders: postgresOrders(reads),
    newId: newUuid,
    shopDay: calendar(config.SHOP_TIME_ZONE),
    policy: policyOf(config),
  });

  const { app, closing } = await createServer({
    shop,
    auth: { issuer: config.JWT_ISSUER, audience: config.JWT_AUDIENCE, keys, operatorApiKey },
    logger,
    newId: newUuid,
    now: systemClock,
    rateLimit: config.RATE_LIMIT,
    metrics: createMetrics(stats),
    api: config.ROLE !== 'worker',
    version: PRODUCT_VERSION,
    away: async () => ({
      needed: (await reads.ping()) ? [] : ['postgres'],
      helpful: !redis || (await redis.ping()) ? [] : ['redis'],
    }),
  });

  let left = false;
  const upkeep =
    config.ROLE === 'api'
      ? []
      : [
          every(PURGE_EVERY, () => purge(reads), logger),
          every(
            SWEEP_EVERY,
            async () => {
              while (!left && (await shop.orders.expire()).more);
            },
            logger,
          ),
        ];
  // The embedded default's queue is in this process, so this process works on it.
  const working = config.ROLE !== 'api' || !redis ? shop.coupons.work() : null;

  return {
    shop,
    app,
    operatorApiKey,
    broken: embedded ? embedded.ended.then(() => (left ? new Promise<never>(() => {}) : undefined)) : new Promise(() => {}),
    closing,
    close: async () => {
      left = true;
      // Node no longer times out what stalls while it closes; nothing of ours takes so long.
      const cut = setTimeout(() => app.server.closeAllConnections(), 8_000);
      await app.close().finally(() => clearTimeout(cut));
      await Promise.all([working?.stop(), ...upkeep.map((stop) => stop())]);
      await Promise.all([redisDoor?.close(), claimQueue.close(), claimLog.flush()]);
      await closeLane();
      await redis?.close();
      await reads.close();
      await embedded?.stop();
    },
  };
};

/** Brings a database up to date without starting a service on it. */
export const migrateDatabase = migrate;
