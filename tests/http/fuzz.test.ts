import { expect, test } from 'vitest';
import { claimId } from '../../adapters/system/system.ts';
import { type Answer, type Customer, expectWholeProblem, type Json, openHttp } from '../support/http.ts';
import { violationsOf } from '../support/invariants.ts';
import { answerChecker, type Operation, operationsOf } from './document.ts';

const ROUNDS = 40;
/** The same in every run, so that a red run is about the change; another one by FUZZ_SEED finds more. */
const seed = Number(process.env.FUZZ_SEED ?? 20_261_121);

/** mulberry32: whole numbers from 0 to below `max`, the same for the same seed. */
const dice = (state: number) => (max: number) => {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % max;
};
const roll = dice(seed);
const pick = <T>(from: readonly T[]): T => from[roll(from.length)] as T;
const chance = (percent: number): boolean => roll(100) < percent;

const nasty: readonly Json[] = [
  null,
  true,
  -1,
  0,
  1.5,
  1e21,
  2 ** 53,
  -(2 ** 63),
  '',
  ' ',
  '5',
  '\u0000',
  '\ud800',
  'x'.repeat(300),
  '🙂'.repeat(60),
  [],
  {},
  [[]],
  { a: 1 },
  ['x'],
  '../../etc/passwd',
  "' or 1=1 --",
  '%00',
  '{{7*7}}',
  '\u202eevil',
  'a\r\nb: c',
  { $ne: null },
  '01900000-0000-7000-8000-000000000000',
  '__proto__',
  'constructor',
];

const world = await openHttp();
const customers: Customer[] = [await world.customer(), await world.customer('Lee')];

/** Things that exist: the values of fields, and the ids of things by the path that they are found under. */
const known: { readonly [fieldOrPath: string]: string[] } = {
  sku: [],
  email: customers.map(({ email }) => email),
  password: customers.map(({ password }) => password),
  refreshToken: customers.map(({ refreshToken }) => refreshToken),
  nextCursor: [],
  orders: [],
  products: [],
  payments: [],
  campaigns: [],
  claims: [],
};
/** A field that tells of what shape a thing is → where it is found. */
const paths = { lines: 'orders', variants: 'products', paidAt: 'payments', opensAt: 'campaigns' };
const pathOf = (thing: Json) => Object.entries(paths).find(([field]) => field in thing)?.[1] ?? '';
const remember = (pool: string[] | undefined, value: Json): void => {
  if (!pool || typeof value !== 'string') return;
  pool.push(value);
  if (pool.length > 30) pool.splice(roll(25), 1);
};
/** Remembers what an answer names, so that later requests meet it. */
const learn = (value: Json): void => {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) remember(known[pathOf(value)], value.id);
  for (const { id } of customers) if ('rank' in value && value.campaignId) remember(known.claims, claimId(value.campaignId, id));
  for (const [field, item] of Object.entries<Json>(value)) {
    remember(known[field], item);
    learn(item);
  }
};

let count = 0;
/** A value that the schema allows; mostly one that makes sense. */
const valid = (schema: Json, field = ''): Json => {
  if (schema.anyOf ?? schema.oneOf) return valid(pick<Json>(schema.anyOf ?? schema.oneOf), field);
  if (schema.type === 'null') return null;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return pick<Json>(schema.enum);
  if (schema.type === 'integer') {
    if (field === 'amount') return 1_000 * (1 + roll(chance(80) ? 1_000 : 2_000));
    const [low, high] = [schema.minimum ?? -1_000, schema.maximum ?? 1_000];
    if (chance(10)) return pick([low, high]);
    const near = Math.max(low, Math.min(high, 0));
    return near + roll(Math.min(high - near, chance(50) ? 5 : 200_000) + 1);
  }
  if (schema.type === 'array')
    return Array.from({ length: Math.max(schema.minItems ?? 0, 1 + roll(3)) }, () => valid(schema.items));
  if (schema.type === 'object') {
    const given = Object.entries<Json>(schema.properties ?? {}).filter(([name]) => schema.required?.includes(name) || chance(50));
    // An order names items or the cart.
    const names = new Set(given.map(([name]) => name));
    const kept = given.filter(([name]) => name !== 'fromCart' || !names.has('items'));
    if ('fromCart' in (schema.properties ?? {}) && !names.has('items') && !names.has('fromCart')) return { fromCart: true };
    // A SKU that is made has a stock, and must be a new one.
    return Object.fromEntries(
      kept.map(([name, item]) => [name, valid(item, name === 'sku' && 'stock' in schema.properties ? 'newSku' : name)]),
    );
  }
  if (schema.format === 'date-time')
    return new Date(world.clock.now + (field === 'opensAt' ? -1 : 1) * roll(864_000_000)).toISOString();
  const pool = known[field === 'cursor' ? 'nextCursor' : field];
  if (pool?.length && (field !== 'sku' || chance(90)) && (field !== 'email' || chance(60))) return pick(pool);
  if (field === 'email') return `fuzz-${++count}@example.com`;
  if (field === 'refreshToken') return 'a.b.c';
  return /sku/i.test(field) ? `fuzz-${++count}` : `fuzz ${++count}`;
};

/** The value with one thing wrong (or at least odd) in it, somewhere. */
const mutated = (value: Json): Json => {
  const inside = typeof value === 'object' && value !== null ? Object.keys(value) : [];
  if (inside.length === 0 || chance(15)) return pick(nasty);
  const at = pick(inside);
  const copy = Array.isArray(value) ? [...value] : { ...value };
  const way = roll(5);
  if (way === 0) delete copy[at];
  else if (way === 1) copy[Array.isArray(value) ? value.length : pick(['more', 'id', '__proto__x', ''])] = pick(nasty);
  else copy[at] = mutated(value[at]);
  return copy;
};

/** Bytes that were JSON once. */
const broken = (text: string): Buffer => {
  const bytes = Buffer.from(text);
  if (chance(20)) return Buffer.from(Array.from({ length: roll(200) }, () => roll(256)));
  if (chance(30)) return bytes.subarray(0, roll(bytes.length + 1));
  for (let flips = 1 + roll(3); flips > 0 && bytes.length > 0; flips--) bytes[roll(bytes.length)] = roll(256);
  return bytes;
};

type Stage = 'valid' | 'one mutation' | 'raw bytes';

const request = async (operation: Operation, stage: Stage): Promise<{ sent: Json; answer: Answer }> => {
  const { method, caller, parameters, body: schema } = operation;
  const own = caller.includes('customer')
    ? pick(customers)
    : caller === 'operator'
      ? world.operator
      : pick([world.anyone, ...customers]);
  const client = chance(90) ? own : pick([world.anyone, world.operator, ...customers]);
  const wrong = stage === 'one mutation' ? pick(['path', 'query', 'header', 'body', 'body', 'body']) : '';
  const odd = () => encodeURIComponent(String(pick(nasty)).replace(/[\ud800-\udfff]/g, '?'));
  const [, things = ''] = /^\/v1\/(\w+)\/\{id\}/.exec(operation.path) ?? [];
  const idOf = (name: string) => String(valid({ type: 'string' }, name === 'id' ? things : name));
  let path = operation.path.replace(/\{(\w+)\}/g, (_, name) => (wrong === 'path' ? odd() : idOf(name)));
  const query = parameters
    .filter((each) => each.in === 'query' && chance(30))
    .map(({ name, schema }) => `${name}=${valid(schema, name)}`);
  if (wrong === 'query') query.push(`${pick(['limit', 'cursor', 'status', 'sort', 'x', '__proto__', 'limit[]'])}=${odd()}`);
  if (query.length > 0) path += `?${query.join('&')}`;
  const headers: { [name: string]: string } = chance(20) ? { 'idempotency-key': `k${roll(30)}` } : {};
  if (wrong === 'header')
    headers[
      pick(['idempotency-key', 'authorization', 'content-type', 'x-request-id', 'accept', 'content-length', 'if-none-match'])
    ] = pick([
      '',
      'x',
      '\u00e9',
      'a,b',
      'x'.repeat(300),
      'Bearer x',
      'Bearer a.b.c',
      'text/plain',
      'application/json; charset=latin1',
      '-1',
    ]);
  let body: Json = schema && valid(schema);
  if (wrong === 'body' && (schema || chance(30))) body = mutated(body ?? {});
  if (stage === 'raw bytes') body = broken(JSON.stringify(body ?? {}));
  if (body !== undefined && !Buffer.isBuffer(body)) body = JSON.stringify(body);
  const sent = [seed, operation.name, path, headers, String(body)];
  return { sent, answer: await client.send(method, path, body, headers) };
};

test(`whatever is asked, the answer is what the document says, never a fault, and the books stay right (FUZZ_SEED=${seed})`, async () => {
  const document = (await world.anyone.get('/docs/json')).body;
  const operations = operationsOf(document);
  const undocumented = answerChecker(document);
  const succeeded = new Set<string>();
  const statuses = new Map<number, number>();

  for (const [stage, rounds] of [
    ['valid', ROUNDS],
    ['one mutation', ROUNDS],
    ['raw bytes', ROUNDS / 4],
  ] as const)
    for (let round = 0; round < rounds; round++) {
      learn(await world.product({ price: 1 + roll(5_000), stock: roll(12) }));
      for (const operation of operations) {
        const { sent, answer } = await request(operation, stage);
        const { status } = answer;
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        expect(status, JSON.stringify([sent, answer.text])).toBeLessThan(500);
        expect(undocumented(operation, answer), JSON.stringify([sent, answer.text])).toEqual([]);
        if (status >= 400) expectWholeProblem(answer);
        else {
          succeeded.add(operation.name);
          learn(answer.body);
        }
      }
      if (chance(10)) world.clock.advance(roll(86_400_000));
      expect(violationsOf(await world.books())).toEqual([]);
    }

  // A fuzzer that is always refused finds nothing.
  expect(operations.map(({ name }) => name).filter((name) => !succeeded.has(name))).toEqual([]);
  expect(statuses.size).toBeGreaterThanOrEqual(8);
  expect(world.logs.filter((line) => /"level":(50|60)/.test(line))).toEqual([]);
});
