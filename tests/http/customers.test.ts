import { describe, expect, test } from 'vitest';
import { expectProblem, INSTANT, openHttp, UUID } from '../support/http.ts';

const world = await openHttp();
const { anyone } = world;
const kim = await world.customer();

const person = (changes: object = {}) => ({ email: 'lee@example.com', password: 'correct horse', name: 'Lee', ...changes });

describe('POST /v1/customers', () => {
  test('registers a customer and says only what product.md says', async () => {
    const answer = await anyone.post('/v1/customers', person({ email: 'Park@Example.com', name: '박지우 🛒' }));
    expect(answer.status).toBe(201);
    expect(answer.body).toEqual({ id: UUID, email: 'park@example.com', name: '박지우 🛒', createdAt: INSTANT });
    expect(answer.headers['content-type']).toMatch(/^application\/json/);
  });

  test('of ten at once with one address one is registered, the others are refused', async () => {
    const one = person({ email: 'at-once@example.com' });
    const answers = await Promise.all(Array.from({ length: 10 }, () => anyone.post('/v1/customers', one)));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, ...Array(9).fill(409)]);
    for (const answer of answers.filter(({ status }) => status === 409)) expectProblem(answer, 409, 'email_taken');
  });

  test('an address in other case is the same address', async () => {
    expectProblem(await anyone.post('/v1/customers', person({ email: kim.email.toUpperCase() })), 409, 'email_taken');
  });

  test.each([
    ['8 characters', 'a'.repeat(8), 201],
    ['64 characters', 'a'.repeat(64), 201],
    ['7 characters', 'a'.repeat(7), 400],
    ['65 characters', 'a'.repeat(65), 400],
  ])('a password of %s', async (of, password, status) => {
    const answer = await anyone.post('/v1/customers', person({ email: `${of.replace(' ', '-')}@example.com`, password }));
    expect(answer.status).toBe(status);
  });

  test('a name of 50 characters is accepted whatever the characters are', async () => {
    const answer = await anyone.post('/v1/customers', person({ email: 'smile@example.com', name: '🙂'.repeat(50) }));
    expect(answer.status).toBe(201);
  });

  test.each([
    ['an unknown field', person({ role: 'operator' }), 'role'],
    ['its own id', person({ id: kim.id }), 'id'],
    ['no e-mail address', person({ email: undefined }), 'email'],
    ['a bad e-mail address', person({ email: 'lee' }), 'email'],
    ['no password', person({ password: undefined }), 'password'],
    ['a number for a password', person({ password: 12345678 }), 'password'],
    ['no name', person({ name: undefined }), 'name'],
    ['an empty name', person({ name: '' }), 'name'],
    ['a blank name', person({ name: '  ' }), 'name'],
    ['a name of 51 characters', person({ name: 'x'.repeat(51) }), 'name'],
    ['a list', [person()], ''],
    ['null', null, 'email'],
  ])('%s is refused, and errors says where', async (_what, body, path) => {
    const before = await world.state();
    const problem = expectProblem(await anyone.post('/v1/customers', body), 400, 'validation_failed');
    expect(problem.errors.map((error: { path: string }) => error.path)).toContain(path);
    expect(await world.state()).toEqual(before);
  });
});

describe('POST /v1/sessions', () => {
  test('logs in, with the address in any case', async () => {
    const answer = await anyone.post('/v1/sessions', { email: kim.email.toUpperCase(), password: kim.password });
    expect(answer.status).toBe(201);
    expect(answer.body).toEqual({
      accessToken: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
      tokenType: 'Bearer',
      expiresIn: 3_600,
      refreshToken: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
    });
    expect((await world.as(answer.body.accessToken).get('/v1/me')).body.id).toBe(kim.id);
  });

  test('a wrong password and an unknown address are refused alike', async () => {
    const wrong = await anyone.post('/v1/sessions', { email: kim.email, password: 'wrong horse' });
    const unknown = await anyone.post('/v1/sessions', { email: 'nobody@example.com', password: 'wrong horse' });
    const problem = expectProblem(wrong, 401, 'invalid_credentials');
    expect({ ...expectProblem(unknown, 401, 'invalid_credentials'), requestId: null }).toEqual({ ...problem, requestId: null });
  });

  test.each([
    ['an unknown field', { email: kim.email, password: kim.password, remember: true }],
    ['no password', { email: kim.email }],
    ['a password of the wrong type', { email: kim.email, password: ['correct horse'] }],
    ['nothing', {}],
  ])('%s is refused', async (_what, body) => {
    expectProblem(await anyone.post('/v1/sessions', body), 400, 'validation_failed');
  });
});

describe('POST /v1/sessions/refresh and /end', () => {
  const refresh = (refreshToken: unknown) => anyone.post('/v1/sessions/refresh', { refreshToken });

  test('a refresh token serves once; used twice it ends the session', async () => {
    const lee = await world.customer('Lee');
    const second = await refresh(lee.refreshToken);
    expect(second.status).toBe(201);
    expect(Object.keys(second.body)).toEqual(['accessToken', 'tokenType', 'expiresIn', 'refreshToken']);
    expect((await world.as(second.body.accessToken).get('/v1/me')).body.id).toBe(lee.id);

    expectProblem(await refresh(lee.refreshToken), 401, 'session_ended');
    expectProblem(await refresh(second.body.refreshToken), 401, 'session_ended');
  });

  test('after the log-out nothing can be refreshed, and a second log-out is as good as the first', async () => {
    const lee = await world.customer('Lee');
    for (const _ of [1, 2]) {
      const ended = await anyone.post('/v1/sessions/end', { refreshToken: lee.refreshToken });
      expect([ended.status, ended.text]).toEqual([204, '']);
    }
    expectProblem(await refresh(lee.refreshToken), 401, 'session_ended');
  });

  test('a session that nobody prolonged for 30 days has ended', async () => {
    const own = await openHttp();
    const { refreshToken } = await own.customer();
    own.clock.advance(30 * 86_400_000);
    expectProblem(await own.anyone.post('/v1/sessions/refresh', { refreshToken }), 401, 'session_ended');
  });

  test.each(['/v1/sessions/refresh', '/v1/sessions/end'])('%s refuses what is no refresh token', async (path) => {
    expectProblem(await anyone.post(path, { refreshToken: 'a.b.c' }), 401, 'session_ended');
    expectProblem(await anyone.post(path, { refreshToken: kim.token }), 401, 'session_ended');
    for (const body of [{}, { refreshToken: 5 }, { refreshToken: '' }, { refreshToken: 'a b' }, { refreshToken: 'a', more: 1 }])
      expectProblem(await anyone.post(path, body), 400, 'validation_failed');
  });
});

describe('GET /v1/me', () => {
  test('tells a customer who it is', async () => {
    const answer = await kim.get('/v1/me');
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ id: kim.id, email: kim.email, name: kim.name, createdAt: INSTANT });
  });

  test('is for customers', async () => {
    const nobody = await anyone.get('/v1/me');
    expectProblem(nobody, 401, 'unauthenticated');
    expect(nobody.headers['www-authenticate']).toBe('Bearer');
    expectProblem(await world.operator.get('/v1/me'), 403, 'forbidden');
  });
});
