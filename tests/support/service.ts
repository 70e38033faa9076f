import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SignJWT } from 'jose';
import { afterAll } from 'vitest';

/** Nothing of ours reaches a service: only what a test says. */
export type Environment = { readonly [name: string]: string };

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** `node app/main.ts` as a process of its own. */
export interface Process {
  readonly pid: number;
  /** Everything that it printed until now, stderr too. */
  output(): string;
  readonly exited: Promise<Exit>;
  hasExited(): boolean;
  /** Sends the signal and waits for the end. */
  kill(signal: NodeJS.Signals): Promise<Exit>;
}

export interface Service extends Process {
  readonly url: string;
}

const root = join(import.meta.dirname, '../..');
const running = new Set<ChildProcess>();
const temporary: string[] = [];

// Whatever a test file forgot, or a failed one left.
afterAll(async () => {
  const ends = [...running].map((child) => new Promise((ended) => child.once('close', ended)));
  for (const child of running) child.kill('SIGKILL');
  await Promise.all(ends);
  for (const dir of temporary) await rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A new directory that is removed after the test file. */
export const newDirectory = async (): Promise<string> => {
  const dir = await mkdtemp(join(tmpdir(), 'firstcome-test-'));
  // As a usual directory: in a closed one of root's, Postgres would have to live elsewhere.
  await chmod(dir, 0o755);
  temporary.push(dir);
  return dir;
};

/** Looks until the condition holds. */
export const until = async (holds: () => boolean | Promise<boolean>, seconds = 20): Promise<void> => {
  const deadline = performance.now() + seconds * 1_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${seconds} s: ${holds}`);
    await delay(5);
  }
};

export const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** Starts the service and does not wait for anything: for starts that shall fail. */
export const runService = (env: Environment): Process => {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, ['app/main.ts'], {
    cwd: root,
    env: { PATH, HOME, PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (printed += text));
  const exited = new Promise<Exit>((resolve) => child.once('close', (code, signal) => resolve({ code, signal })));
  exited.then(() => running.delete(child));
  return {
    pid: child.pid as number,
    output: () => printed,
    exited,
    hasExited: () => !running.has(child),
    kill: (signal) => {
      child.kill(signal);
      return exited;
    },
  };
};

/** A service that answers. Throws with what it printed when it ends instead. */
export const startService = async (env: Environment): Promise<Service> => {
  const service = runService(env);
  const address = () => /"address":"([^"]+)".*"msg":"ready"/.exec(service.output())?.[1];
  await until(() => service.hasExited() || address() !== undefined, 60);
  const url = address();
  if (url === undefined) throw new Error(`the service did not start: ${service.output()}`);
  return { ...service, url };
};

/** The Postgres that runs on a data directory: the pid of its postmaster, and how to reach it. */
export const embeddedPostgresOf = async (dataDir: string): Promise<{ pid: number; url: string }> => {
  const lines = (await readFile(join(dataDir, 'postgres/postmaster.pid'), 'utf8')).split('\n');
  const [pid, , , port, sockets] = lines as [string, string, string, string, string];
  return { pid: Number(pid), url: `postgresql:///firstcome?host=${encodeURIComponent(sockets)}&port=${port}&user=postgres` };
};

/** Longer than anything may take: a request without an answer after it hangs. */
const HANGS = 12_000;

// biome-ignore lint/suspicious/noExplicitAny: JSON as it came; each test says what it expects of it.
export type Json = any;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Byte by byte. */
  readonly text: string;
  /** null when it is not JSON. */
  readonly body: Json;
}

/** One caller of a service. Connections are kept alive. Rejects when there was no answer. */
export const connect = (url: string, token?: string) => {
  const ask = async (method: string, path: string, body?: unknown, key?: string): Promise<Answer> => {
    const headers: Record<string, string> = {};
    if (body !== undefined) headers['content-type'] = 'application/json';
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    if (key !== undefined) headers['idempotency-key'] = key;
    const response = await fetch(`${url}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(HANGS),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get('content-type') ?? '');
    return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : null };
  };
  const get = (path: string) => ask('GET', path);
  const post = (path: string, body: unknown, key?: string) => ask('POST', path, body, key);
  return {
    get,
    post,
    as: (other: string | undefined) => connect(url, other),
    register: (email: string, password: string, name = 'Mina') => post('/v1/customers', { email, password, name }),
    logIn: (email: string, password: string) => post('/v1/sessions', { email, password }),
    charge: (amount: number, key?: string) => post('/v1/balance/charges', { amount }, key),
    balance: async (): Promise<number> => (await get('/v1/balance')).body.balance,
    /** A product of one SKU, by an operator. */
    product: (sku: string, price: number, stock: number) =>
      post('/v1/products', { name: sku, category: 'tests', variants: [{ sku, name: sku, price, stock }] }),
    order: (items: { readonly [sku: string]: number }, { pay = false, key }: { pay?: boolean; key?: string } = {}) =>
      post('/v1/orders', { items: itemsOf(items), ...(pay ? { pay: 'balance' } : {}) }, key),
    pay: (orderId: string, key?: string) => post(`/v1/orders/${orderId}/payment`, { method: 'balance' }, key),
  };
};
export type Client = ReturnType<typeof connect>;

const itemsOf = (items: { readonly [sku: string]: number }) =>
  Object.entries(items).map(([sku, quantity]) => ({ sku, quantity }));

/** The body of an answer that must have this status. */
export const expected = async (answer: Promise<Answer>, status = 201): Promise<Json> => {
  const { status: got, text, body } = await answer;
  if (got !== status) throw new Error(`${got} in place of ${status}: ${text}`);
  return body;
};

/** A customer's token as an identity provider that shares the secret signs it: costs no password hash. */
export const mintToken = (secret: string, customerId: string = randomUUID()): Promise<string> =>
  new SignJWT({ role: 'customer' })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuer('firstcome')
    .setAudience('firstcome')
    .setSubject(customerId)
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(secret));
