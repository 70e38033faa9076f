import type { FastifyInstance } from 'fastify';
import { SignJWT } from 'jose';
import { pino } from 'pino';
import { expect } from 'vitest';
import type { AuthConfig } from '../../adapters/http/auth.ts';
import { createMetrics } from '../../adapters/http/metrics.ts';
import { createServer, type HttpOptions } from '../../adapters/http/server.ts';
import type { MemoryStore } from '../../adapters/memory/store.ts';
import { newUuid } from '../../adapters/system/system.ts';
import { type Books, keyOf, type Transact } from '../../core/books.ts';
import type { Ports } from '../../core/ports.ts';
import type { Shop } from '../../core/shop.ts';
import { openShop } from './shop.ts';

export const JWT_SECRET = 'a-secret-for-tests-of-32-characters-and-more';
export const OPERATOR_KEY = 'fc_operator_key-for-tests-0123456789';

// biome-ignore lint/suspicious/noExplicitAny: JSON as it came; each test says what it expects of it.
export type Json = any;

/** What came back, byte by byte and parsed. `body` is null when there was no JSON. */
export interface Answer {
  readonly status: number;
  readonly headers: { readonly [name: string]: string | number | string[] | undefined };
  readonly text: string;
  readonly body: Json;
}

type Headers = { readonly [name: string]: string };
type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** Requests of one caller. A `Buffer` or a string is sent as it is, anything else as JSON. */
export interface Client {
  send(method: Method, path: string, body?: unknown, headers?: Headers): Promise<Answer>;
  get(path: string, headers?: Headers): Promise<Answer>;
  post(path: string, body?: unknown, headers?: Headers): Promise<Answer>;
  put(path: string, body?: unknown, headers?: Headers): Promise<Answer>;
  patch(path: string, body?: unknown, headers?: Headers): Promise<Answer>;
  delete(path: string, headers?: Headers): Promise<Answer>;
}

/** Somebody who registered and logged in. */
export interface Customer extends Client {
  readonly id: string;
  readonly email: string;
  readonly password: string;
  readonly name: string;
  readonly token: string;
  readonly refreshToken: string;
}

export interface ProductWish {
  readonly sku?: string;
  readonly name?: string;
  readonly category?: string;
  readonly price?: number;
  readonly stock?: number;
  readonly status?: 'on_sale' | 'hidden';
}

export type HttpWorld = Awaited<ReturnType<typeof openHttp>>;

export interface Options {
  readonly auth?: Partial<AuthConfig>;
  readonly rateLimit?: number;
  readonly away?: HttpOptions['away'];
  readonly api?: boolean;
  /** Ports in place of the store's. */
  readonly ports?: (store: MemoryStore) => Partial<Ports>;
  readonly shop?: (shop: Shop) => Shop;
  /** Adds routes, before the server is ready. */
  readonly routes?: (app: FastifyInstance) => void;
}

export const parsed = (text: string): Json => {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
};

/** What commits, by kind and key; and a gate before all commands. */
const watch = (inner: Transact) => {
  const written: { readonly kind: string; readonly key: string }[] = [];
  let held: { readonly arrive: () => void; readonly gate: Promise<void> } | null = null;
  const transact: Transact = async (scope, decide) => {
    held?.arrive();
    await held?.gate;
    let mine: typeof written = [];
    const done = await inner(scope, (books) => {
      mine = [];
      const noting =
        (write: Books['put']): Books['put'] =>
        (kind, record) => {
          mine.push({ kind, key: keyOf[kind](record) });
          write(kind, record);
        };
      return decide({ ...books, put: noting(books.put), create: noting(books.create) });
    });
    written.push(...mine);
    return done;
  };
  /** Commands wait from now on, until they are released. `reached` resolves when so many are there. */
  const hold = (count = 1) => {
    const open = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    let there = 0;
    const arrive = () => {
      if (++there === count) reached.resolve();
    };
    held = { arrive, gate: open.promise };
    const release = () => {
      held = null;
      open.resolve();
    };
    return { reached: reached.promise, release };
  };
  return { transact, written, hold };
};

/** The API on a shop in memory, for requests that need no socket. Its clock stands still until it is told to move. */
export const openHttp = async (options: Options = {}) => {
  let watched: ReturnType<typeof watch> | undefined;
  const { shop, store, clock, books } = openShop({
    // Tokens are checked by the real clock.
    at: Date.now(),
    ports: (inner) => {
      const replaced = options.ports?.(inner) ?? {};
      watched = watch(replaced.transact ?? inner.transact);
      return { ...replaced, transact: watched.transact };
    },
  });
  const { written, hold } = watched as ReturnType<typeof watch>;

  const logs: string[] = [];
  const { app, closing } = await createServer({
    shop: options.shop?.(shop) ?? shop,
    auth: {
      issuer: 'firstcome',
      audience: 'firstcome',
      keys: { secret: JWT_SECRET },
      operatorApiKey: OPERATOR_KEY,
      ...options.auth,
    },
    logger: pino({ level: 'trace' }, { write: (line: string) => void logs.push(line) }),
    newId: newUuid,
    now: () => clock.now,
    rateLimit: options.rateLimit ?? 0,
    metrics: createMetrics({ waiting: 0, commands: 0, batches: 0 }),
    api: options.api ?? true,
    version: '0.0.0',
    away: options.away ?? (async () => ({ needed: [], helpful: [] })),
  });
  options.routes?.(app);
  await app.ready();

  const as = (token: string | null): Client => clientOf(app, token);
  const operator = as(OPERATOR_KEY);
  let made = 0;

  return {
    app,
    shop,
    store,
    logs,
    closing,
    as,
    operator,
    anyone: as(null),
    clock,
    books,
    hold,

    customer: async (name = 'Kim'): Promise<Customer> => {
      const login = { email: `${name.toLowerCase()}-${++made}@example.com`, password: `correct horse ${made}` };
      const registered = await as(null).post('/v1/customers', { ...login, name });
      expect(registered.status).toBe(201);
      const session = await as(null).post('/v1/sessions', login);
      expect(session.status).toBe(201);
      const { accessToken: token, refreshToken } = session.body;
      return { ...login, ...as(token), id: registered.body.id, name, token, refreshToken };
    },

    /** As it is on the wire. */
    product: async (wish: ProductWish = {}): Promise<Json> => {
      const { sku = `SKU-${++made}`, name = `thing ${made}`, category = 'things', price = 1_000, stock = 100, status } = wish;
      const body = { name, category, status: status ?? 'on_sale', variants: [{ sku, name, price, stock }] };
      const created = await operator.post('/v1/products', body);
      expect(created.status).toBe(201);
      return created.body;
    },

    /** Everything in the shop that a request could have changed. */
    state: async () => {
      const customers = [...new Set(written.filter(({ kind }) => kind === 'customers').map(({ key }) => key))];
      return structuredClone({
        ...(await books()),
        products: (await store.products.page({ sort: 'newest' }, { limit: 1_000_000 })).items,
        carts: await Promise.all(customers.map(async (id) => [id, await store.carts.find(id)] as const)),
        events: store.facts.events,
        written,
      });
    },
  };
};

export const clientOf = (app: FastifyInstance, token: string | null): Client => {
  const send: Client['send'] = async (method, path, body, headers = {}) => {
    const raw = typeof body === 'string' || Buffer.isBuffer(body);
    const response = await app.inject({
      method,
      url: path,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { payload: raw ? body : JSON.stringify(body) }),
    });
    const text = response.payload;
    return { status: response.statusCode, headers: response.headers, text, body: parsed(text) };
  };
  return {
    send,
    get: (path, headers) => send('GET', path, undefined, headers),
    post: (path, body, headers) => send('POST', path, body, headers),
    put: (path, body, headers) => send('PUT', path, body, headers),
    patch: (path, body, headers) => send('PATCH', path, body, headers),
    delete: (path, headers) => send('DELETE', path, undefined, headers),
  };
};

export const UUID = expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
export const INSTANT = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

/** That the answer is a whole RFC 9457 problem: this status, this code, and one sentence. Gives its body. */
export const expectProblem = (answer: Answer, status: number, code: string): Json => {
  expect({ status: answer.status, code: answer.body?.code }).toEqual({ status, code });
  return expectWholeProblem(answer);
};

/** That the answer is a whole RFC 9457 problem of any code. */
export const expectWholeProblem = ({ status, headers, body }: Answer): Json => {
  expect(headers['content-type']).toMatch(/^application\/problem\+json/);
  expect(body).toEqual({
    type: `urn:firstcome:problem:${body.code}`,
    title: expect.stringMatching(/\w/),
    status,
    detail: expect.stringMatching(/^[A-Z].*\.$/),
    code: expect.stringMatching(/^[a-z_]+$/),
    instance: expect.stringMatching(/^\//),
    requestId: expect.stringMatching(/^[\w.-]{8,64}$/),
    ...('errors' in body ? { errors: expect.any(Array) } : {}),
  });
  for (const error of body.errors ?? [])
    expect(error).toEqual({ path: expect.any(String), message: expect.stringMatching(/\w/) });
  return body;
};

/** A token that an outside identity provider could have signed with the shared secret. */
export const signed = (claims: { readonly [claim: string]: unknown }, secret: string = JWT_SECRET): Promise<string> =>
  new SignJWT({ iss: 'firstcome', aud: 'firstcome', exp: Math.floor(Date.now() / 1_000) + 600, ...claims })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .sign(new TextEncoder().encode(secret));
