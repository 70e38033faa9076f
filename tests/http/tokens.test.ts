import { createHmac, createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { base64url, exportJWK, exportSPKI, generateKeyPair, importJWK, SignJWT } from 'jose';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { expectProblem, INSTANT, type Json, JWT_SECRET, OPERATOR_KEY, openHttp, signed } from '../support/http.ts';
import { operationsOf } from './document.ts';

const world = await openHttp();
const kim = await world.customer();
const seconds = () => Math.floor(Date.now() / 1_000);
const good = { sub: kim.id, role: 'customer', fc_sid: 'a-session' };
const rsa = await generateKeyPair('RS256', { extractable: true });
const ec = await generateKeyPair('ES256', { extractable: true });
const pss = { ...rsa, privateKey: (await importJWK(await exportJWK(rsa.privateKey), 'PS256')) as typeof rsa.privateKey };

/** A token of any header and claims, signed (or not) by hand. */
const handmade = (header: object, claims: object, hash: string | null, key: string | Uint8Array = JWT_SECRET): string => {
  const input = [header, claims].map((part) => base64url.encode(JSON.stringify(part))).join('.');
  return `${input}.${hash ? createHmac(hash, key).update(input).digest('base64url') : ''}`;
};
const claims = (changes: object = {}) => ({ iss: 'firstcome', aud: 'firstcome', exp: seconds() + 600, ...good, ...changes });
const hs256 = (changes: object = {}, header: object = {}) => handmade({ alg: 'HS256', ...header }, claims(changes), 'sha256');

test('a token of the table that has nothing wrong is accepted, so that the others are refused for what they have wrong', async () => {
  for (const token of [hs256(), await signed(good), hs256({ aud: ['other', 'firstcome'] }), hs256({ nbf: seconds() - 1 })])
    expect((await world.as(token).get('/v1/me')).body.id).toBe(kim.id);
  for (const scheme of ['bearer', 'BEARER']) {
    const answer = await world.anyone.get('/v1/me', { authorization: `${scheme} ${kim.token}` });
    expect(answer.status).toBe(200);
  }
});

const bad: { readonly [what: string]: string | Promise<string> } = {
  garbage: 'garbage',
  'three garbled parts': 'a.b.c',
  'two parts': hs256().split('.').slice(0, 2).join('.'),
  'four parts': `${hs256()}.more`,
  'no signature': `${hs256().split('.').slice(0, 2).join('.')}.`,
  'alg none': handmade({ alg: 'none' }, claims(), null),
  'alg None': handmade({ alg: 'None' }, claims(), null),
  'alg none with a good signature': handmade({ alg: 'none' }, claims(), 'sha256'),
  'no alg': handmade({}, claims(), 'sha256'),
  'alg a list': handmade({ alg: ['HS256'] }, claims(), 'sha256'),
  HS384: handmade({ alg: 'HS384' }, claims(), 'sha384'),
  HS512: handmade({ alg: 'HS512' }, claims(), 'sha512'),
  RS256: new SignJWT(claims()).setProtectedHeader({ alg: 'RS256' }).sign(rsa.privateKey),
  ES256: new SignJWT(claims()).setProtectedHeader({ alg: 'ES256' }).sign(ec.privateKey),
  'a key of its own in its header': (async () =>
    new SignJWT(claims()).setProtectedHeader({ alg: 'RS256', jwk: await exportJWK(rsa.publicKey) }).sign(rsa.privateKey))(),
  'another secret': signed(good, `${JWT_SECRET}!`),
  'an empty secret': handmade({ alg: 'HS256' }, claims(), 'sha256', ''),
  'an unknown crit': hs256({}, { crit: ['x'], x: 1 }),
  'an unencoded payload': hs256({}, { crit: ['b64'], b64: false }),
  'wrong aud': hs256({ aud: 'other' }),
  'wrong aud in a list': hs256({ aud: ['other', 'firstcome2'] }),
  'no aud': hs256({ aud: undefined }),
  'wrong iss': hs256({ iss: 'other' }),
  'iss in other case': hs256({ iss: 'Firstcome' }),
  'no iss': hs256({ iss: undefined }),
  expired: hs256({ exp: seconds() - 1 }),
  'expired just now': hs256({ exp: seconds() }),
  'no exp': hs256({ exp: undefined }),
  'exp in words': hs256({ exp: 'tomorrow' }),
  'not yet valid': hs256({ nbf: seconds() + 60 }),
  'no sub': hs256({ sub: undefined }),
  'an empty sub': hs256({ sub: '' }),
  'a sub of 129 characters': hs256({ sub: 'x'.repeat(129) }),
  'a sub with a line break': hs256({ sub: 'a\nb' }),
  'a sub with NUL': hs256({ sub: 'a\0b' }),
  'a sub with a space': hs256({ sub: 'a b' }),
  'a sub of other letters': hs256({ sub: '김' }),
  'no role': hs256({ role: undefined }),
  'an unknown role': hs256({ role: 'admin' }),
  'the role anyone': hs256({ role: 'anyone' }),
  'the role in other case': hs256({ role: 'Customer' }),
  'a list of roles': hs256({ role: ['customer'] }),
  'two roles': hs256({ role: 'customer or operator' }),
  'a refresh token': kim.refreshToken,
  'claims that are a list': handmade({ alg: 'HS256' }, [claims()], 'sha256'),
  'claims that are null': (() => {
    const input = [JSON.stringify({ alg: 'HS256' }), 'null'].map((part) => base64url.encode(part)).join('.');
    return `${input}.${createHmac('sha256', JWT_SECRET).update(input).digest('base64url')}`;
  })(),
  'a token of 5,000 characters': hs256({ more: 'x'.repeat(5_000) }),
  'the operator key and more': `${OPERATOR_KEY}x`,
  'a part of the operator key': OPERATOR_KEY.slice(0, -1),
  'the secret itself': JWT_SECRET,
};

/** auth.ts: SUBJECT.test() makes a string of whatever it is given. */
const alsoBad: typeof bad = { 'a number as sub': hs256({ sub: 5 }), 'a list as sub': hs256({ sub: [kim.id] }) };

describe('a token is refused for', () => {
  const isRefused = async (bad: string | Promise<string> | undefined) => {
    const client = world.as((await bad) as string);
    const before = await world.state();
    for (const answer of [
      await client.get('/v1/me'),
      await client.post('/v1/balance/charges', { amount: 1_000 }),
      await client.post('/v1/products', { name: 'n', category: 'c', variants: [{ sku: 'N', name: 'n', price: 1, stock: 1 }] }),
    ]) {
      expectProblem(answer, 401, 'unauthenticated');
      expect(answer.headers['www-authenticate']).toBe('Bearer');
    }
    expect(await world.state()).toEqual(before);
  };
  test.each(Object.keys(bad))('%s', (what) => isRefused(bad[what]));
  test.each(Object.keys(alsoBad))('%s', (what) => isRefused(alsoBad[what]));

  test('any one flipped bit', async () => {
    const parts = kim.token.split('.').map((part) => base64url.decode(part));
    for (const [i, part] of parts.entries())
      for (let bit = 0; bit < part.length * 8; bit += i === 2 ? 1 : 7) {
        const flipped = Uint8Array.from(part, (byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
        const token = parts.map((each, at) => base64url.encode(at === i ? flipped : each)).join('.');
        const { status } = await world.as(token).get('/v1/me');
        expect([i, bit, status]).toEqual([i, bit, 401]);
      }
  });

  test.each([
    'Bearer',
    'Bearer ',
    `Basic ${OPERATOR_KEY}`,
    OPERATOR_KEY,
    `Bearer  ${OPERATOR_KEY}`,
    `Bearer ${OPERATOR_KEY} x`,
    `Bearer ${OPERATOR_KEY},${OPERATOR_KEY}`,
    `Token ${kim.token}`,
    '',
  ])('the header %j', async (authorization) => {
    expectProblem(await world.anyone.get('/v1/orders', { authorization }), 401, 'unauthenticated');
  });
});

test('nothing at all is refused, and told which scheme to use', async () => {
  const answer = await world.anyone.get('/v1/me');
  expectProblem(answer, 401, 'unauthenticated');
  expect(answer.headers['www-authenticate']).toBe('Bearer');
});

test('a token that was accepted is refused once it has expired', async () => {
  const token = hs256();
  expect((await world.as(token).get('/v1/me')).status).toBe(200);
  vi.useFakeTimers({ now: Date.now() + 601_000, toFake: ['Date'] });
  try {
    expectProblem(await world.as(token).get('/v1/me'), 401, 'unauthenticated');
  } finally {
    vi.useRealTimers();
  }
  expect((await world.as(token).get('/v1/me')).status).toBe(200);
});

test('roles stay apart: a token of one is 403 on routes of the other', async () => {
  const operator = world.as(hs256({ sub: kim.id, role: 'operator' }));
  expect((await operator.get('/v1/orders')).status).toBe(200);
  for (const client of [operator, world.operator]) {
    expectProblem(await client.get('/v1/me'), 403, 'forbidden');
    expectProblem(await client.post('/v1/orders', { items: [{ sku: 'A', quantity: 1 }] }), 403, 'forbidden');
  }
  expectProblem(await kim.post('/v1/products', {}), 403, 'forbidden');
  expectProblem(
    await world.as(hs256({ role: 'customer', roles: ['operator'], scope: 'operator' })).post('/v1/products', {}),
    403,
    'forbidden',
  );
});

test('an access token does not refresh, nor end, a session', async () => {
  for (const path of ['/v1/sessions/refresh', '/v1/sessions/end'])
    for (const refreshToken of [
      kim.token,
      hs256({ aud: 'firstcome/refresh' }),
      hs256({ aud: 'firstcome/refresh', fc_sid: undefined }),
    ])
      expect([401, 204]).toContain((await world.anyone.post(path, { refreshToken })).status);
  const refreshed = await world.anyone.post('/v1/sessions/refresh', { refreshToken: kim.refreshToken });
  expect(refreshed.status).toBe(201);
});

test("a customer of the shared secret's other holder is on record from its first use", async () => {
  const stranger = world.as(await signed({ sub: 'partner|42', role: 'customer', email: 'p@example.com', name: 'Partner' }));
  expect((await stranger.post('/v1/balance/charges', { amount: 1_000 })).status).toBe(201);
  expect((await stranger.get('/v1/me')).body).toEqual({
    id: 'partner|42',
    email: 'p@example.com',
    name: 'Partner',
    createdAt: INSTANT,
  });
});

test('without an operator key nobody has it', async () => {
  const own = await openHttp({ auth: { operatorApiKey: null } });
  for (const key of [OPERATOR_KEY, 'null', 'undefined', '']) expect((await own.as(key).get('/v1/orders')).status).toBe(401);
});

describe("with an outside identity provider's keys", async () => {
  const key = async (pair: typeof rsa, alg: string, kid: string) => ({
    ...(await exportJWK(pair.publicKey)),
    alg,
    kid,
    use: 'sig',
  });
  const keys = { keys: [await key(rsa, 'RS256', 'rsa-1'), await key(ec, 'ES256', 'ec-1')] };
  const open: ServerResponse[] = [];
  /** What the provider answers, by path. */
  const answers: { readonly [path: string]: (response: ServerResponse) => void } = {
    '/good': (response) => response.end(JSON.stringify(keys)),
    '/error': (response) => response.writeHead(500).end('no'),
    '/html': (response) => response.end('<html>'),
    '/odd': (response) => response.end('{"keys":"none"}'),
    '/silent': (response) => open.push(response),
  };
  const provider = createServer((request, response) => answers[request.url as string]?.(response)).listen(0, '127.0.0.1');
  await once(provider, 'listening');
  const origin = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
  afterAll(() => {
    provider.closeAllConnections();
    provider.close();
  });
  const openAt = (jwksUrl: string) => openHttp({ auth: { keys: { jwksUrl }, operatorApiKey: OPERATOR_KEY } });
  const outside = await openAt(`${origin}/good`);
  const token = (changes: object = {}, header: object = {}, pair = rsa): Promise<string> =>
    new SignJWT(claims({ fc_sid: undefined, sid: 'a session of theirs', ...changes }))
      .setProtectedHeader({ alg: 'RS256', kid: 'rsa-1', ...header })
      .sign(pair.privateKey);

  test('its tokens are accepted, and the customer is on record from its first use', async () => {
    for (const [sub, header, pair] of [
      ['auth0|rsa', { alg: 'RS256', kid: 'rsa-1' }, rsa],
      ['auth0|ec', { alg: 'ES256', kid: 'ec-1' }, ec],
    ] as const) {
      const client = outside.as(await token({ sub, email: 'Lee@example.com', name: 'Lee' }, header, pair));
      const first = await client.get('/v1/me');
      expect(first.status).toBe(200);
      expect(first.body).toEqual({
        id: sub,
        email: expect.stringMatching(/^lee@example\.com$/i),
        name: 'Lee',
        createdAt: INSTANT,
      });
      outside.clock.advance(60_000);
      const again = outside.as(await token({ sub, name: 'Somebody else' }, header, pair));
      expect((await again.get('/v1/me')).body).toEqual(first.body);
      expect((await again.post('/v1/balance/charges', { amount: 1_000 })).status).toBe(201);
    }
  });

  test('who has no name and no address is on record all the same', async () => {
    const { body } = await outside.as(await token({ sub: 'nameless' })).get('/v1/me');
    expect(body).toMatchObject({ id: 'nameless', email: null });
  });

  // auth.ts takes the claim as it is: on Postgres a NUL in it is a 500.
  test.each([
    ['NUL', 'a\0b'],
    ['control characters', 'a\u001b[31mb'],
    ['half a character at the cut', `${'x'.repeat(49)}🙂`],
    ['blanks only', '  '],
  ])('a name of %s is made into text', async (what, name) => {
    const { status, body } = await outside.as(await token({ sub: what.replaceAll(' ', '-'), name })).get('/v1/me');
    expect(status).toBe(200);
    expect(body.name.isWellFormed() && !/\p{Cc}/u.test(body.name) && body.name.trim() !== '').toBe(true);
  });

  test('its operators are operators', async () => {
    const operator = outside.as(await token({ sub: 'boss', role: 'operator' }));
    expect((await operator.get('/v1/orders')).status).toBe(200);
    expectProblem(await operator.get('/v1/me'), 403, 'forbidden');
    expect((await outside.operator.get('/v1/orders')).status).toBe(200);
  });

  test.each<[string, () => string | Promise<string>]>([
    [
      'signed with the public key as a secret (PEM)',
      async () => handmade({ alg: 'HS256', kid: 'rsa-1' }, claims(), 'sha256', await exportSPKI(rsa.publicKey)),
    ],
    [
      'signed with the public key as a secret (DER)',
      async () =>
        handmade(
          { alg: 'HS256', kid: 'rsa-1' },
          claims(),
          'sha256',
          createPublicKey(await exportSPKI(rsa.publicKey)).export({ type: 'spki', format: 'der' }),
        ),
    ],
    [
      'signed with the modulus as a secret',
      async () => handmade({ alg: 'HS256', kid: 'rsa-1' }, claims(), 'sha256', (await exportJWK(rsa.publicKey)).n as string),
    ],
    ['of our own secret', () => hs256({}, { kid: 'rsa-1' })],
    ['of an empty secret', () => handmade({ alg: 'HS256', kid: 'rsa-1' }, claims(), 'sha256', '')],
    ['of alg none', () => handmade({ alg: 'none', kid: 'rsa-1' }, claims(), null)],
    ['of an unknown kid', () => token({}, { kid: 'rsa-2' })],
    ["of another key's kid", () => token({}, { kid: 'ec-1' })],
    ['of a kid that is a path', () => token({}, { kid: '../../dev/null' })],
    ['of another algorithm of the same key', () => token({}, { alg: 'PS256' }, pss)],
    ['of a key of the same kid', async () => token({}, {}, await generateKeyPair('RS256'))],
    ['that names its own keys', async () => token({}, { jku: `${origin}/evil`, kid: 'evil' }, await generateKeyPair('RS256'))],
    ['of another aud', () => token({ aud: 'other' })],
    ['of another iss', () => token({ iss: 'other' })],
    ['that has expired', () => token({ exp: seconds() - 1 })],
    ['of no role', () => token({ role: undefined })],
    ['of a sub with control characters', () => token({ sub: 'a\r\nb' })],
  ])('a token %s is refused', async (_what, make) => {
    const before = await outside.state();
    const client = outside.as(await make());
    expectProblem(await client.get('/v1/me'), 401, 'unauthenticated');
    expect(await outside.state()).toEqual(before);
  });

  test('nobody registers or logs in here, and the document says so', async () => {
    for (const path of ['/v1/customers', '/v1/sessions', '/v1/sessions/refresh', '/v1/sessions/end'])
      expectProblem(await outside.anyone.post(path, {}), 404, 'route_not_found');
    const names = operationsOf((await outside.anyone.get('/docs/json')).body).map(({ name }: Json) => name);
    expect(names).toContain('GET /v1/me');
    expect(names.join()).not.toMatch(/POST \/v1\/(customers|sessions)/);
  });

  const unavailable = async (jwksUrl: string) => {
    const own = await openAt(jwksUrl);
    const answer = await own.as(await token()).get('/v1/me');
    expectProblem(answer, 503, 'unavailable');
    expect(answer.headers['retry-after']).toBe('1');
    expect(answer.text).not.toContain('127.0.0.1');
    expect((await own.operator.get('/v1/orders')).status).toBe(200);
    expect((await own.anyone.get('/v1/products')).status).toBe(200);
  };

  test('it is not the token that is at fault when nothing listens there', () => unavailable('http://127.0.0.1:1/jwks'));
  test.concurrent.each(['/error', '/html', '/silent'])(
    'it is not the token that is at fault when the provider answers %s',
    (path) => unavailable(origin + path),
  );
  // auth.ts: ERR_JWKS_INVALID is the provider's fault, too.
  test('it is not the token that is at fault when the provider answers with other JSON', () => unavailable(`${origin}/odd`));

  test('who was known before stays known while the provider is away', async () => {
    let away = false;
    const leaving = createServer((_request, response) => (away ? response.destroy() : response.end(JSON.stringify(keys))));
    leaving.listen(0, '127.0.0.1');
    await once(leaving, 'listening');
    const own = await openAt(`http://127.0.0.1:${(leaving.address() as AddressInfo).port}`);
    const client = own.as(await token());
    expect((await client.get('/v1/me')).status).toBe(200);
    away = true;
    leaving.closeAllConnections();
    leaving.close();
    expect((await client.get('/v1/me')).status).toBe(200);
    expect((await own.as(await token({ sub: 'another' })).get('/v1/me')).status).toBe(200);
  });
});
