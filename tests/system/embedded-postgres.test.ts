import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, cp, mkdir, mkdtemp, readdir, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type EmbeddedPostgres, type EmbeddedPostgresOptions, startEmbeddedPostgres } from '../../adapters/postgres/embedded.ts';

const atTheEnd: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of atTheEnd.splice(0).reverse()) await end();
});

const newDataDir = async (): Promise<string> => {
  const dir = await mkdtemp(join(tmpdir(), 'firstcome-test-'));
  // As a usual directory: of a closed one there is a test of its own.
  await chmod(dir, 0o755);
  atTheEnd.push(() => rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }));
  return dir;
};

/** A data directory with a cluster that was started before: much quicker than to make one. */
const usedDataDir = async (): Promise<string> => {
  const dataDir = await newDataDir();
  await cp(join(template, 'postgres'), join(dataDir, 'postgres'), { recursive: true });
  return dataDir;
};
let template: string;
beforeAll(async () => {
  template = await mkdtemp(join(tmpdir(), 'firstcome-test-'));
  await (await startEmbeddedPostgres({ dataDir: template })).stop();
  return () => rm(template, { recursive: true, force: true });
});

const start = async (dataDir: string, options: Omit<EmbeddedPostgresOptions, 'dataDir'> = {}): Promise<EmbeddedPostgres> => {
  const server = await startEmbeddedPostgres({ dataDir, ...options });
  atTheEnd.push(server.stop);
  return server;
};

const query = async (connectionString: string, sql: string): Promise<unknown[][]> => {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    return (await client.query({ text: sql, rowMode: 'array' })).rows;
  } finally {
    await client.end();
  }
};

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

const until = async (holds: () => boolean | Promise<boolean>, seconds = 10): Promise<void> => {
  for (const deadline = performance.now() + seconds * 1000; !(await holds()); await delay(5)) {
    if (performance.now() > deadline) throw new Error(`not within ${seconds} s: ${holds}`);
  }
};

/** The other processes of the server's group: its keeper and the watcher. (Its backends lead groups of their own.) */
const groupWithout = async (pid: number): Promise<number[]> => {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,pgid=']);
  const pairs = stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  const group = pairs.find(([one]) => one === pid)?.[1];
  return pairs.filter(([one, of]) => of === group && one !== pid).map(([one]) => one as number);
};

const embedded = JSON.stringify(new URL('../../adapters/postgres/embedded.ts', import.meta.url).href);
const run = (code: string): ChildProcess => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  atTheEnd.push(
    async () =>
      void (child.exitCode === null && child.signalCode === null && child.kill('SIGKILL') && (await once(child, 'exit'))),
  );
  return child;
};
const kill = async (child: ChildProcess): Promise<void> => {
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
};

/** Another process that owns the directory until it is killed. */
const startElsewhere = async (dataDir: string) => {
  const child = run(`
    import { startEmbeddedPostgres } from ${embedded};
    const { connectionString, pid } = await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)} });
    console.log(JSON.stringify({ connectionString, pid }));
    setInterval(() => {}, 1000);
  `);
  for await (const line of createInterface(child.stdout as NodeJS.ReadableStream)) {
    const { connectionString, pid } = JSON.parse(line) as { connectionString: string; pid: number };
    return { child, connectionString, pid };
  }
  throw new Error('the other process did not start Postgres');
};

describe('embedded Postgres', () => {
  test('starts from nothing with the database firstcome, on a unix socket only', async () => {
    const { connectionString } = await start(join(await newDataDir(), 'not', 'yet', 'there'));
    const sql = `select current_database(), current_setting('listen_addresses'), current_setting('fsync'), current_setting('TimeZone'),
      current_setting('server_encoding'), current_setting('max_connections')`;
    expect(await query(connectionString, sql)).toEqual([['firstcome', '', 'on', 'UTC', 'UTF8', '40']]);
  });

  test('keeps its data over a restart, and leaves no process and no socket behind', async () => {
    const dataDir = await usedDataDir();
    const first = await start(dataDir);
    await query(first.connectionString, 'create table kept as select 42 as answer');
    await first.stop();
    await first.ended;
    expect(isAlive(first.pid)).toBe(false);
    await expect(query(first.connectionString, 'select 1')).rejects.toThrow('ENOENT');

    const second = await start(dataDir);
    expect(await query(second.connectionString, 'select answer from kept')).toEqual([[42]]);
  });

  test('ends when its owner is killed; the next one starts at once with all that was committed', async () => {
    const dataDir = await usedDataDir();
    for (let round = 1; round <= 3; round++) {
      const { child, connectionString, pid } = await startElsewhere(dataDir);
      await query(connectionString, 'create table if not exists kept (round int)');
      await query(connectionString, `insert into kept values (${round})`);
      await kill(child);
      const killed = performance.now();
      if (round === 1) await until(() => !isAlive(pid));

      const next = await start(dataDir);
      expect(performance.now() - killed).toBeLessThan(5000);
      expect(await query(next.connectionString, 'select count(*)::int from kept')).toEqual([[round]]);
      await next.stop();
    }
  });

  test('recovers when the server itself is killed: its owner is told, and may start it again', async () => {
    const dataDir = await usedDataDir();
    const first = await start(dataDir);
    await query(first.connectionString, 'create table kept as select 42 as answer');
    process.kill(first.pid, 'SIGKILL');
    await first.ended;
    const second = await start(dataDir);
    expect(await query(second.connectionString, 'select answer from kept')).toEqual([[42]]);
  });

  test('takes over from a server whose owner and keeper were both killed', async () => {
    const dataDir = await usedDataDir();
    const { child, connectionString, pid } = await startElsewhere(dataDir);
    await query(connectionString, 'create table kept as select 42 as answer');
    // The keeper leads the group of the server's helpers: without it nobody tells the server that its owner is gone.
    // Nor does anybody remove its socket directory.
    atTheEnd.push(() => rm(new URL(connectionString).searchParams.get('host') as string, { recursive: true, force: true }));
    for (const helper of await groupWithout(pid)) process.kill(helper, 'SIGKILL');
    await kill(child);
    const second = await start(dataDir);
    expect(await query(second.connectionString, 'select answer from kept')).toEqual([[42]]);
  });

  test('is not misled by the pid of a dead server that now belongs to another program', async () => {
    const dataDir = await usedDataDir();
    const first = await start(dataDir);
    process.kill(first.pid, 'SIGKILL');
    await first.ended;
    const other = run('setInterval(() => {}, 1000)');
    await writeFile(join(dataDir, 'postgres/postmaster.pid'), `${other.pid}\n${dataDir}/postgres\n1\n5432\n/tmp\n\n`);
    const second = await start(dataDir);
    expect(await query(second.connectionString, 'select 1')).toEqual([[1]]);
    expect(isAlive(other.pid as number)).toBe(true);
  });

  test('refuses a directory that another living process uses, at once and by name', async () => {
    const dataDir = await usedDataDir();
    const { child, connectionString } = await startElsewhere(dataDir);
    const asked = performance.now();
    await expect(startEmbeddedPostgres({ dataDir })).rejects.toThrow(`${dataDir}/postgres is in use by process ${child.pid}.`);
    expect(performance.now() - asked).toBeLessThan(1000);
    expect(await query(connectionString, 'select 1')).toEqual([[1]]);
  });

  test('of many first starts on one directory exactly one wins', async () => {
    const dataDir = await newDataDir();
    const starts = await Promise.allSettled([1, 2, 3].map(() => start(dataDir)));
    const refused = starts.filter((one) => one.status === 'rejected').map((one) => String(one.reason));
    expect(refused).toEqual([
      expect.stringContaining('in use by this process'),
      expect.stringContaining('in use by this process'),
    ]);
    expect(await readdir(dataDir)).toEqual(['postgres']);
  });

  test('starts in different directories at once', async () => {
    const servers = await Promise.all([start(await usedDataDir()), start(await usedDataDir(), { fsync: false })]);
    const asked = servers.map(({ connectionString }) => query(connectionString, `select current_setting('fsync')`));
    expect(await Promise.all(asked)).toEqual([[['on']], [['off']]]);
  });

  test('a first start that is killed half-way leaves no half-made database', async () => {
    const dataDir = await newDataDir();
    const child = run(`
      import { startEmbeddedPostgres } from ${embedded};
      await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)} });
    `);
    await until(async () => (await readdir(dataDir)).some((name) => name.startsWith('postgres.making-')));
    await kill(child);
    const { connectionString } = await start(dataDir);
    expect(await query(connectionString, 'select current_database()')).toEqual([['firstcome']]);
  });

  test.skipIf(process.getuid?.() !== 0)(
    'as root, keeps the database outside of a closed home, which its user cannot enter',
    async () => {
      const home = join(await newDataDir(), 'home');
      await mkdir(home, { mode: 0o700 });
      const dataDir = join(home, '.data');
      const first = await start(dataDir);
      const place = await readlink(join(dataDir, 'postgres'));
      atTheEnd.unshift(() => rm(place, { recursive: true, force: true }));
      await query(first.connectionString, 'create table kept as select 42 as answer');
      await first.stop();
      const second = await start(dataDir);
      expect(await query(second.connectionString, 'select answer from kept')).toEqual([[42]]);
      await second.stop();
      await rm(place, { recursive: true });
      await expect(start(dataDir)).rejects.toThrow(`${dataDir}/postgres is a link to a directory that is not there`);
    },
  );

  test('says why when it cannot start, with the end of the log', async () => {
    const dataDir = await usedDataDir();
    await (await start(dataDir)).stop();
    await writeFile(join(dataDir, 'postgres/PG_VERSION'), '17\n');
    await expect(startEmbeddedPostgres({ dataDir })).rejects.toThrow(
      /did not start.*DATABASE_URL.*initialized by PostgreSQL version 17/s,
    );
  });
});
