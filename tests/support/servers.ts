import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { access, constants, mkdtemp, rm } from 'node:fs/promises';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { Redis } from 'ioredis';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../adapters/postgres/embedded.ts';

/** A server of one test's own: it may be killed. */
export interface OwnServer {
  readonly url: string;
  /** Of the server itself (the postmaster, the redis-server). */
  readonly pid: number;
  stop(): Promise<void>;
}

const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};
const loud = (line: string): void => {
  process.stderr.write(`\n*** ${line} ***\n\n`);
};
const uniqueName = (prefix: string): string => `${prefix}_${randomUUID().replaceAll('-', '').slice(0, 12)}`;

/** An embedded Postgres in a temporary directory, or in `dataDir`, which is kept. `fsync: true` for tests of crashes. */
export const startPostgres = async (options: { fsync?: boolean; dataDir?: string } = {}): Promise<OwnServer> => {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'firstcome-test-')));
  const server = await startEmbeddedPostgres({ dataDir, fsync: options.fsync ?? false, maxConnections: 200 });
  const stop = async () => {
    await server.stop();
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
  };
  return { url: server.connectionString, pid: server.pid, stop };
};

const onPath = async (command: string): Promise<boolean> => {
  const found = (process.env.PATH ?? '')
    .split(delimiter)
    .map((dir) => access(join(dir, command), constants.X_OK).then(() => true));
  return Promise.any(found).catch(() => false);
};

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no TCP port');
  return address.port;
};

/** Prints the pid, then becomes what the server prints. EOF on stdin, also when we are killed, ends the server. */
const redisKeeper = `
trap '' HUP INT TERM
exec 3<&0
redis-server "$@" 3<&- </dev/null 2>&1 &
server=$!
echo $server
{ read -r _ <&3; kill -TERM $server; } >/dev/null 2>&1 &
watcher=$!
exec 3<&- </dev/null >/dev/null
wait $server
kill -KILL $watcher`;

/**
 * A `redis-server` from PATH that keeps nothing on disk, on 127.0.0.1; null when there is none on PATH.
 * With `port`, on that port: a server that comes back where it was.
 */
export const startRedis = async (options: { port?: number } = {}): Promise<OwnServer | null> => {
  if (!(await onPath('redis-server'))) return null;
  let said = '';
  // Between the search for a free port and its use somebody else may take it.
  for (let tries = options.port === undefined ? 3 : 1; tries > 0; tries--) {
    const port = options.port ?? (await freePort());
    const settings = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', tmpdir()];
    const child = spawn('/bin/sh', ['-c', redisKeeper, 'sh', ...settings], { detached: true, stdio: ['pipe', 'pipe', 'ignore'] });
    const ended = once(child, 'exit');
    child.stdin.on('error', () => {});
    let pid = 0;
    for await (const line of createInterface(child.stdout)) {
      pid ||= Number(line);
      said = line;
      if (line.includes('Ready to accept connections')) break;
    }
    // A pipe that nobody reads would fill and stop the server.
    child.stdout.resume();
    if (said.includes('Ready to accept connections')) {
      const stop = async () => {
        child.stdin.end();
        await ended;
      };
      return { url: `redis://127.0.0.1:${port}`, pid, stop };
    }
    await ended;
  }
  throw new Error(`redis-server did not start: ${said}`);
};

/** One statement on a connection of its own. */
const query = async (url: string, sql: string): Promise<Record<string, unknown>[]> => {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
};

/** A new, empty database beside the given one, on the same server: test files do not disturb each other. */
export const freshDatabase = async (databaseUrl: string): Promise<{ url: string; drop(): Promise<void> }> => {
  const url = new URL(databaseUrl);
  // The name begins with its parent's, so that the end of a run finds what a killed test file left.
  const name = uniqueName(decodeURIComponent(url.pathname.slice(1)) || 'firstcome_test');
  await query(databaseUrl, `create database "${name}"`);
  url.pathname = `/${name}`;
  const drop = async () => {
    await query(databaseUrl, `drop database if exists "${name}" with (force)`);
  };
  return { url: url.href, drop };
};

interface Shared {
  readonly url: string;
  readonly how: string;
  stop(): Promise<void>;
}

/** A database of our own on a server that is not ours. */
const onGivenPostgres = async (serverUrl: string): Promise<Shared> => {
  const url = new URL(serverUrl);
  const name = uniqueName('firstcome_test');
  await query(serverUrl, `create database "${name}"`);
  url.pathname = `/${name}`;
  const stop = async () => {
    const ours = await query(
      serverUrl,
      `select datname from pg_database where datname = '${name}' or starts_with(datname, '${name}_')`,
    );
    for (const { datname } of ours) await query(serverUrl, `drop database if exists "${datname}" with (force)`);
  };
  return { url: url.href, how: 'TEST_DATABASE_URL', stop };
};

/**
 * A logical database of our own on a server that is not ours: the one that the URL names, else the last one that is empty.
 * A marker in it says that it is taken. Only such a one is flushed at the end, and only while it carries our marker.
 */
const onGivenRedis = async (serverUrl: string): Promise<Shared> => {
  const url = new URL(serverUrl);
  const marker = 'firstcome:test-run';
  const run = randomUUID();
  const named = /^\/(\d+)$/.exec(url.pathname)?.[1];
  const redis = new Redis(serverUrl, { maxRetriesPerRequest: 0, retryStrategy: () => null, lazyConnect: true });
  try {
    await redis.connect();
    // Managed servers hide CONFIG; 16 is the default.
    const count = await redis.config('GET', 'databases').then(
      (answer) => Number(Object.values(answer as object).at(-1)) || 16,
      () => 16,
    );
    const candidates = named === undefined ? Array.from({ length: count - 1 }, (_, i) => count - 1 - i) : [Number(named)];
    for (const db of candidates) {
      await redis.select(db);
      if ((await redis.dbsize()) !== 0 || (await redis.set(marker, run, 'NX')) !== 'OK') continue;
      if ((await redis.dbsize()) !== 1) {
        await redis.del(marker);
        continue;
      }
      url.pathname = `/${db}`;
      const stop = async () => {
        const client = new Redis(url.href, { maxRetriesPerRequest: 0, retryStrategy: () => null });
        if ((await client.get(marker)) === run) await client.flushdb();
        client.disconnect();
      };
      return { url: url.href, how: `TEST_REDIS_URL, database ${db}`, stop };
    }
    throw new Error(
      `TEST_REDIS_URL: no empty logical database among ${candidates.join(', ')}; what is in them is not ours to flush.`,
    );
  } finally {
    redis.disconnect();
  }
};

/** Whether a Docker engine answers; the command may be there without one. */
const dockerAnswers = async (): Promise<boolean> => {
  const host = process.env.DOCKER_HOST;
  const sockets = host?.startsWith('unix://')
    ? [host.slice('unix://'.length)]
    : ['/var/run/docker.sock', join(homedir(), '.docker/run/docker.sock')];
  const targets =
    host && !host.startsWith('unix://')
      ? [{ url: host.replace(/^tcp:/, 'http:') }]
      : sockets.map((socketPath) => ({ socketPath }));
  const ping = (target: { url?: string; socketPath?: string }) =>
    new Promise<true>((answered, failed) => {
      const { url = 'http://docker', ...options } = target;
      get(new URL('/_ping', url), { ...options, signal: AbortSignal.timeout(500) }, (response) => {
        response.resume();
        if (response.statusCode === 200) answered(true);
        else failed(new Error(`docker: ${response.statusCode}`));
      }).on('error', failed);
    });
  return Promise.any(targets.map(ping)).catch(() => false);
};

const fromContainer = async (
  what: string,
  start: () => Promise<Shared>,
  ask: (url: string) => Promise<unknown>,
): Promise<Shared | undefined> => {
  try {
    const started = await start();
    await ask(started.url);
    return started;
  } catch (error) {
    loud(`Docker answers, but the ${what} container did not start (${(error as Error).message}): trying without Docker`);
    return undefined;
  }
};

const postgresContainer = async (): Promise<Shared> => {
  const { PostgreSqlContainer } = await import('@testcontainers/postgresql');
  const fast = ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off', 'max_connections=200'].flatMap((setting) => [
    '-c',
    setting,
  ]);
  const container = await new PostgreSqlContainer('postgres:18')
    .withDatabase('firstcome')
    .withCommand(['postgres', ...fast])
    .start();
  const stop = async () => {
    await container.stop();
  };
  return { url: container.getConnectionUri(), how: 'container', stop };
};

const redisContainer = async (): Promise<Shared> => {
  const { RedisContainer } = await import('@testcontainers/redis');
  const container = await new RedisContainer('redis:8')
    .withCommand(['redis-server', '--protected-mode', 'no', '--save', '', '--appendonly', 'no'])
    .start();
  const stop = async () => {
    await container.stop();
  };
  return { url: container.getConnectionUrl(), how: 'container', stop };
};

const sharedPostgres = async (docker: boolean): Promise<Shared> => {
  const given = process.env.TEST_DATABASE_URL;
  if (given) return onGivenPostgres(given);
  const container = docker ? await fromContainer('postgres', postgresContainer, postgresVersion) : undefined;
  return container ?? { ...(await startPostgres()), how: 'embedded' };
};

const sharedRedis = async (docker: boolean): Promise<Shared | null> => {
  const given = process.env.TEST_REDIS_URL;
  if (given) return onGivenRedis(given);
  const container = docker ? await fromContainer('redis', redisContainer, redisVersion) : undefined;
  if (container) return container;
  const own = await startRedis();
  return own && { ...own, how: 'redis-server' };
};

const postgresVersion = async (url: string): Promise<string> => {
  const [row] = await query(url, 'show server_version');
  return String(row?.server_version).split(' ')[0] ?? '';
};

const redisVersion = async (url: string): Promise<string> => {
  const redis = new Redis(url, { maxRetriesPerRequest: 0, retryStrategy: () => null });
  try {
    return /redis_version:(\S+)/.exec(await redis.info('server'))?.[1] ?? '';
  } finally {
    redis.disconnect();
  }
};

/**
 * The servers that all tests of a run share: the given ones (`TEST_DATABASE_URL`, `TEST_REDIS_URL`), else containers, else
 * processes of our own. `redisUrl` is null when there is no Redis to be had: its suites skip, and that is said loudly.
 */
export const startServers = async (): Promise<{ databaseUrl: string; redisUrl: string | null; stop(): Promise<void> }> => {
  const docker = process.env.TEST_DATABASE_URL && process.env.TEST_REDIS_URL ? false : await dockerAnswers();
  const started = await Promise.allSettled([sharedPostgres(docker), sharedRedis(docker)]);
  const stop = async () => {
    await Promise.all(started.map((server) => (server.status === 'fulfilled' ? server.value?.stop() : undefined)));
  };
  const [postgres, redis] = started;
  try {
    if (postgres.status === 'rejected') throw new Error('no Postgres for the tests', { cause: postgres.reason });
    if (redis.status === 'rejected') throw new Error('no Redis for the tests', { cause: redis.reason });
    const used = [`postgres ${await postgresVersion(postgres.value.url)} (${postgres.value.how})`];
    if (redis.value) used.push(`redis ${await redisVersion(redis.value.url)} (${redis.value.how})`);
    say(`servers: ${used.join(', ')}`);
    if (!redis.value) {
      loud('NOT RUN: all tests that need Redis. Start Docker, put redis-server on PATH, or set TEST_REDIS_URL=redis://host:6379');
    }
    return { databaseUrl: postgres.value.url, redisUrl: redis.value?.url ?? null, stop };
  } catch (error) {
    await stop();
    throw error;
  }
};
