import { describe, expect, test } from 'vitest';
import { type Client, expectProblem, expectWholeProblem, type Json, openHttp } from '../support/http.ts';

const world = await openHttp();
const { anyone, operator } = world;
const kim = await world.customer();
const { id, variants } = await world.product({ sku: 'REAL' });
const [{ sku }] = variants;
await kim.put(`/v1/cart/items/${sku}`, { quantity: 1 });
await kim.post('/v1/orders', { items: [{ sku, quantity: 1 }] });
const before = await world.state();

interface Field {
  readonly client: Client;
  readonly method: 'POST' | 'PUT' | 'PATCH';
  readonly path: string;
  /** A valid body; where `RAW` stands the case is put, as raw JSON. */
  readonly body: Json;
  /** What this field may be although the table says no. */
  readonly allowed?: readonly string[];
}
const RAW = '@@';
const product = (changes: object) => ({
  name: 'n',
  category: 'c',
  variants: [{ sku: 'N', name: 'n', price: 1, stock: 1, ...changes }],
});

const numbers: { readonly [field: string]: Field } = {
  'charge amount': { client: kim, method: 'POST', path: '/v1/balance/charges', body: { amount: RAW } },
  'cart quantity': { client: kim, method: 'PUT', path: `/v1/cart/items/${sku}`, body: { quantity: RAW } },
  'quote quantity': { client: kim, method: 'POST', path: '/v1/orders/quotes', body: { items: [{ sku, quantity: RAW }] } },
  'order quantity': { client: kim, method: 'POST', path: '/v1/orders', body: { items: [{ sku, quantity: RAW }] } },
  price: { client: operator, method: 'POST', path: '/v1/products', body: product({ price: RAW }) },
  stock: { client: operator, method: 'POST', path: '/v1/products', body: product({ stock: RAW }), allowed: ['0', '-0'] },
  'price change': { client: operator, method: 'PATCH', path: `/v1/products/${id}`, body: { variants: [{ sku, price: RAW }] } },
  'stock adjustment': {
    client: operator,
    method: 'POST',
    path: `/v1/skus/${sku}/stock-adjustments`,
    body: { delta: RAW, reason: 'r' },
    allowed: ['-1'],
  },
};

const badNumbers = [
  '-1',
  '0',
  '-0',
  '1.5',
  '1.0',
  '1e3',
  '1E3',
  '1e0',
  '10e-1',
  '0.1e1',
  '"5"',
  '"1000"',
  '""',
  'null',
  'true',
  'false',
  '[]',
  '[1]',
  '{}',
  '{"value":1}',
  '9007199254740993',
  '9223372036854775808',
  '-9223372036854775809',
  '1000000000001',
  '1e999',
  '-1e999',
  '123456789012345678901234567890',
  '01',
  '+1',
  '0x10',
  '1_000',
  '.5',
  '5.',
  'NaN',
  'Infinity',
  '-Infinity',
  'undefined',
  '1n',
];

const texts: { readonly [field: string]: Field } = {
  'name of a customer': {
    client: anyone,
    method: 'POST',
    path: '/v1/customers',
    body: { email: 'new@example.com', password: 'correct horse', name: RAW },
  },
  'e-mail address': {
    client: anyone,
    method: 'POST',
    path: '/v1/customers',
    body: { email: RAW, password: 'correct horse', name: 'n' },
  },
  'name of a product': { client: operator, method: 'POST', path: '/v1/products', body: { ...product({}), name: RAW } },
  category: { client: operator, method: 'POST', path: '/v1/products', body: { ...product({}), category: RAW } },
  'name of a variant': { client: operator, method: 'POST', path: '/v1/products', body: product({ name: RAW }) },
  'sku of a variant': { client: operator, method: 'POST', path: '/v1/products', body: product({ sku: RAW }) },
  'new name of a product': { client: operator, method: 'PATCH', path: `/v1/products/${id}`, body: { name: RAW } },
  'new category': { client: operator, method: 'PATCH', path: `/v1/products/${id}`, body: { category: RAW } },
  'new name of a variant': {
    client: operator,
    method: 'PATCH',
    path: `/v1/products/${id}`,
    body: { variants: [{ sku, name: RAW }] },
  },
  'reason of an adjustment': {
    client: operator,
    method: 'POST',
    path: `/v1/skus/${sku}/stock-adjustments`,
    body: { delta: 1, reason: RAW },
  },
  'sku of an order': { client: kim, method: 'POST', path: '/v1/orders', body: { items: [{ sku: RAW, quantity: 1 }] } },
  'method of a payment': { client: kim, method: 'POST', path: `/v1/orders/${id}/payment`, body: { method: RAW } },
};

const badTexts = [
  '5',
  'null',
  'true',
  '[]',
  '["a"]',
  '{}',
  '{"a":1}',
  '""',
  '" "',
  '"\\t"',
  '"a\\nb"',
  '"a\\u0000b"',
  '"\\u0000"',
  '"a\\u0007b"',
  '"a\\u0085b"',
  '"a\\u009fb"',
  '"a\\u007fb"',
  '"a\\u001b[31mb"',
  '"\\ud800"',
  '"a\\udc00b"',
  '"\\udc00\\ud800"',
  '"a\nb"',
  '"a\0b"',
  `"${'x'.repeat(500)}"`,
  `"${'가'.repeat(500)}"`,
  '"a',
  "'a'",
  '"\\x41"',
  '"\\ud83d\\u0041"',
  '"\\uZZZZ"',
];

const send = ({ client, method, path, body }: Field, raw: string | Buffer) => {
  const [head, tail] = JSON.stringify(body).split(`"${RAW}"`) as [string, string];
  return client.send(method, path, Buffer.concat([Buffer.from(head), Buffer.from(raw), Buffer.from(tail)]));
};

const refused = async (field: Field, cases: readonly (string | Buffer)[]) => {
  for (const raw of cases) {
    if (typeof raw === 'string' && field.allowed?.includes(raw)) continue;
    const answer = await send(field, raw);
    const where = typeof raw === 'string' ? raw.slice(0, 40) : raw.toString('hex');
    expect([400, where]).toEqual([answer.status, where]);
    expect(['validation_failed', 'malformed_json']).toContain(expectWholeProblem(answer).code);
    expect(answer.body.errors.length).toBeGreaterThan(0);
  }
  expect(await world.state()).toEqual(before);
};

describe('a number', () => {
  test.each(Object.entries(numbers))('%s: only a whole number in its range is accepted', (_name, field) =>
    refused(field, badNumbers),
  );
});

describe('a text', () => {
  test.each(Object.entries(texts))('%s: only well-formed, visible, bounded text is accepted', (_name, field) =>
    refused(field, badTexts),
  );

  test.each(Object.entries(texts))('%s: bytes that are no UTF-8 are refused', (_name, field) =>
    refused(
      field,
      ['ff', 'c080', 'eda080', 'f8888080', 'c3', 'f4908080'].map((hex) => Buffer.from(`22${hex}22`, 'hex')),
    ),
  );

  test('the secret ones: a password is bounded and free of NUL', () =>
    refused(
      { client: anyone, method: 'POST', path: '/v1/customers', body: { email: 'n@example.com', password: RAW, name: 'n' } },
      ['null', '12345678', '""', '"1234567"', '"1234567\\u0000"', '"1234567\\ud800"', `"${'x'.repeat(65)}"`, '["12345678"]'],
    ));
});

test('what no text holds is refused before anything looks at it', async () => {
  for (const text of ['1234567\\u0000', '1234567\\ud800', '1234567\\udfff']) {
    const login = `{"email":"${kim.email}","password":"${text}"}`;
    expectProblem(await anyone.post('/v1/sessions', login), 400, 'malformed_json');
  }
});

const body = (text: string) => ({ text, client: kim, path: '/v1/orders' });
const line = `{"sku":"${sku}","quantity":1}`;
const deep = (depth: number, open: string, close: string) => `{"items":${open.repeat(depth)}1${close.repeat(depth)}}`;

describe('a body', () => {
  test.each([
    ['a key twice', `{"items":[${line}],"items":[${line}]}`],
    ['a key twice, one of them escaped', `{"items":[${line}],"it\\u0065ms":[${line}]}`],
    ['a key twice, deep inside', `{"items":[{"sku":"${sku}","quantity":10,"quantity":1}]}`],
    ['__proto__', `{"items":[${line}],"__proto__":{"pay":"balance"}}`],
    ['an escaped __proto__', `{"items":[${line}],"\\u005f_proto__":{"pay":"balance"}}`],
    ['constructor.prototype', `{"items":[${line}],"constructor":{"prototype":{"pay":"balance"}}}`],
    ['toString', `{"items":[${line}],"toString":1}`],
    ['a key with NUL', `{"items":[${line}],"pay\\u0000":"balance"}`],
    ['a key with a lone surrogate', `{"items":[${line}],"\\ud800":1}`],
    ['an empty key', `{"items":[${line}],"":1}`],
    ['17 levels of lists', deep(17, '[', ']')],
    ['17 levels of objects', deep(17, '{"a":', '}')],
    ['5,000 levels of lists', deep(5_000, '[', ']')],
    ['5,000 levels of objects', deep(5_000, '{"a":', '}')],
    ['30,000 open brackets', '['.repeat(30_000)],
    ['3,000 lines', `{"items":[${Array(2_000).fill(line).join(',')}]}`],
    ['a comment', `{"items":[${line}]/* */}`],
    ['a trailing comma', `{"items":[${line}],}`],
    ['two values', `{"items":[${line}]}{}`],
    ['a byte order mark', `\ufeff{"items":[${line}]}`],
    ['half of it', `{"items":[${line}`],
    ['no JSON', 'items=REAL'],
    ['spaces', '   '],
    ['a string', '"items"'],
    ['a number', '1'],
    ['true', 'true'],
    ['null', 'null'],
    ['a list', `[{"items":[${line}]}]`],
  ])('with %s is refused', async (_what, text) => {
    const answer = await kim.post('/v1/orders', text);
    expect(answer.status).toBe(400);
    expect(['validation_failed', 'malformed_json', 'bad_request']).toContain(expectWholeProblem(answer).code);
    expect(await world.state()).toEqual(before);
  });

  test('that is empty is refused', async () => {
    const answer = await kim.post('/v1/orders', '', { 'content-type': 'application/json' });
    expect([answer.status, expectWholeProblem(answer).status]).toEqual([400, 400]);
    expectProblem(await kim.post('/v1/orders'), 400, 'validation_failed');
  });

  test.each([
    ['of 64 KiB and a byte', body(`{"pad":"${'x'.repeat(65_536 - 9)}"}`)],
    ['of 200 KB', body(`{"items":[${line}],"pad":"${'x'.repeat(200_000)}"}`)],
    ['of 200 KB of spaces', body(`{"items":[${line}]${' '.repeat(200_000)}}`)],
  ])('%s is too large', async (_what, { text, client, path }) => {
    expect(text.length).toBeGreaterThan(65_536);
    expectProblem(await client.post(path, text), 413, 'body_too_large');
    expect(await world.state()).toEqual(before);
  });

  test('of 64 KiB is not too large', async () => {
    const quote = `{"items":[${line}]${' '.repeat(65_536 - 12 - line.length)}}`;
    expect(quote.length).toBe(65_536);
    expect((await kim.post('/v1/orders/quotes', quote)).status).toBe(201);
  });

  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/xml',
    'application/octet-stream',
    'application/jsonp',
    'nonsense',
    '*/*',
  ])('of the type %s is refused', async (type) => {
    expectProblem(await kim.post('/v1/orders', `{"items":[${line}]}`, { 'content-type': type }), 415, 'unsupported_media_type');
    expect(await world.state()).toEqual(before);
  });

  test('may name its character set', async () => {
    const quoted = await kim.post('/v1/orders/quotes', `{"items":[${line}]}`, {
      'content-type': 'Application/JSON; charset=utf-8',
    });
    expect(quoted.status).toBe(201);
  });

  test('may hold every text that people write', async () => {
    const own = await openHttp();
    const names = ['김철수', '😀👨‍👩‍👧', 'O’Neil "the \\ slash"', 'a: {b, [c', '-1.5e3', 'null', 'ａ｛：', 'العربية', '1.0'];
    for (const [i, name] of names.entries()) {
      const variants = [{ sku: `S-${i}`, name, price: 1, stock: 1 }];
      const created = await own.operator.post('/v1/products', { ...product({}), name, variants });
      expect([name, created.status, created.body.name]).toEqual([name, 201, name]);
      expect((await own.anyone.get(`/v1/products/${created.body.id}`)).body).toMatchObject({ name, variants });
    }
  });

  // json.ts looks for the letters anywhere in the body, not for a key.
  test('may hold the word __proto__ in a text', async () => {
    const own = await openHttp();
    expect((await own.operator.post('/v1/products', { ...product({}), name: 'the __proto__ book' })).status).toBe(201);
  });
});

test('the table is refused in fields that it is for: their valid values are accepted', async () => {
  const own = await openHttp();
  const lee = await own.customer();
  await own.product({ sku: 'REAL' });
  for (const [field, raw] of [
    [numbers['charge amount'], '1000'],
    [numbers['order quantity'], '1'],
    [numbers['quote quantity'], '10'],
    [numbers.stock, '0'],
    [numbers['stock adjustment'], '-1'],
  ] as [Field, string][]) {
    const client = field.client === kim ? lee : own.operator;
    expect([field.path, (await send({ ...field, client }, raw)).status]).toEqual([field.path, 201]);
  }
  const reached = await send({ ...(texts['name of a customer'] as Field), client: own.anyone }, '"김"');
  expect(reached.status).toBe(201);
});
