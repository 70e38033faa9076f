import { describe, expect, test } from 'vitest';
import { memoryLock } from '../../adapters/memory/lock.ts';
import { hours } from '../../core/shared/time.ts';
import { grantingLock, once, openShop, refusalOf } from '../support/shop.ts';

const kim = { email: 'kim@example.com', password: 'correct horse', name: 'Kim' };
const DAY = hours(24);

const registeredShop = async () => {
  const world = openShop();
  const { shop, anyone } = world;
  const customer = await shop.customers.register({ actor: anyone }, kim);
  const logIn = () => shop.customers.openSession({ actor: anyone }, kim);
  const refresh = (sessionId: string, generation: number) =>
    shop.customers.refreshSession({ actor: anyone }, { sessionId, generation });
  return { ...world, customer, logIn, refresh };
};

describe('registering', () => {
  test('makes a customer who finds itself', async () => {
    const {
      shop,
      customer,
      customer: { id },
      clock,
      customer: made,
    } = await registeredShop();
    expect(made).toEqual({ id, email: 'kim@example.com', name: 'Kim', createdAt: clock.now });
    expect(await shop.customers.me({ subject: customer.id, role: 'customer' })).toEqual(customer);
  });

  test('keeps a memory-hard digest and never the password', async () => {
    const { store } = await registeredShop();
    const login = await store.customers.login(kim.email);
    expect(login?.passwordHash).toMatch(/^argon2id\$/);
    expect(JSON.stringify([login, store.facts])).not.toContain(kim.password);
  });

  test.each(['kim@example.com', 'KIM@Example.COM', '  kim@example.com '])(
    'refuses an address that is taken: "%s"',
    async (email) => {
      const { shop, anyone, store } = await registeredShop();
      const asked = shop.customers.register({ actor: anyone }, { ...kim, email, name: 'Not Kim' });
      expect(await refusalOf(asked)).toEqual({ code: 'email_taken' });
      expect(store.facts.events).toHaveLength(1);
    },
  );

  test.each([
    ['a lock', memoryLock()],
    ['a lock that always grants', grantingLock],
  ])('gives an address to one of twenty who ask at once, with %s', async (_, lock) => {
    const { shop, anyone, store } = openShop({ lock });
    const asked = Array.from({ length: 20 }, (_, i) => shop.customers.register({ actor: anyone }, { ...kim, name: `Kim ${i}` }));
    const answers = await Promise.all(asked.map(refusalOf));
    expect(answers.filter((answer) => (answer as { code?: string }).code === 'email_taken')).toHaveLength(19);
    expect(store.facts.events.map(({ type }) => type)).toEqual(['customer.registered']);
  });

  test('answers the same key with the same customer', async () => {
    const { shop, anyone, store } = openShop();
    const asked = { actor: anyone, once: once(anyone) };
    const first = await shop.customers.register(asked, kim);
    expect(await shop.customers.register(asked, kim)).toEqual(first);
    expect(store.facts.events).toHaveLength(1);
  });

  test('tells others of it once', async () => {
    const { store, customer, clock } = await registeredShop();
    expect(store.facts.events).toMatchObject([
      { type: 'customer.registered', subject: customer.id, data: { customerId: customer.id }, occurredAt: clock.now },
    ]);
  });
});

describe('logging in', () => {
  test('opens a session of its own each time', async () => {
    const { customer, clock, logIn } = await registeredShop();
    const session = await logIn();
    expect(session).toEqual({
      id: session.id,
      customerId: customer.id,
      generation: 1,
      ended: false,
      issuedAt: clock.now,
      expiresAt: clock.now + 30 * DAY,
    });
    expect((await logIn()).id).not.toBe(session.id);
  });

  test('takes the address in any case', async () => {
    const { shop, anyone, customer } = await registeredShop();
    const session = await shop.customers.openSession({ actor: anyone }, { ...kim, email: ' Kim@EXAMPLE.com' });
    expect(session.customerId).toBe(customer.id);
  });

  test.each([
    { email: kim.email, password: 'wrong horse!' },
    { email: kim.email, password: '' },
    { email: 'nobody@example.com', password: kim.password },
  ])('refuses a wrong address and a wrong password alike: %o', async (input) => {
    const { shop, anyone } = await registeredShop();
    expect(await refusalOf(shop.customers.openSession({ actor: anyone }, input))).toEqual({ code: 'invalid_credentials' });
  });

  test('opens one session for one key, and still asks for the password', async () => {
    const { shop, anyone } = await registeredShop();
    const asked = { actor: anyone, once: once(anyone) };
    const session = await shop.customers.openSession(asked, kim);
    expect(await shop.customers.openSession(asked, kim)).toEqual(session);
    const guess = shop.customers.openSession(asked, { ...kim, password: 'wrong horse!' });
    expect(await refusalOf(guess)).toEqual({ code: 'invalid_credentials' });
  });
});

describe('prolonging a session', () => {
  test('takes each refresh token once and starts the time anew', async () => {
    const { clock, logIn, refresh } = await registeredShop();
    const session = await logIn();
    clock.advance(DAY);
    const second = await refresh(session.id, 1);
    expect(second).toEqual({ ...session, generation: 2, issuedAt: clock.now, expiresAt: clock.now + 30 * DAY });
    expect(await refresh(session.id, 2)).toMatchObject({ generation: 3 });
  });

  test.each([1, 3])('ends the whole session when a token of another generation comes (%i in place of 2)', async (generation) => {
    const { logIn, refresh, store } = await registeredShop();
    const { id } = await logIn();
    await refresh(id, 1);
    expect(await refusalOf(refresh(id, generation))).toEqual({ code: 'session_ended' });
    expect(await store.customers.session(id)).toMatchObject({ ended: true, generation: 2 });
    expect(await refusalOf(refresh(id, 2))).toEqual({ code: 'session_ended' });
  });

  test('gives one of two who send the same token at once the next one, and ends the session', async () => {
    const { logIn, refresh, store } = await registeredShop();
    const { id } = await logIn();
    const answers = await Promise.all([refusalOf(refresh(id, 1)), refusalOf(refresh(id, 1))]);
    expect(answers).toEqual([{ done: expect.objectContaining({ generation: 2 }) }, { code: 'session_ended' }]);
    expect(await store.customers.session(id)).toMatchObject({ ended: true });
  });

  test('is the same for the same key: a lost reply does not end the session', async () => {
    const { shop, anyone, logIn, refresh } = await registeredShop();
    const { id } = await logIn();
    const asked = { actor: anyone, once: once(anyone) };
    const next = await shop.customers.refreshSession(asked, { sessionId: id, generation: 1 });
    expect(await shop.customers.refreshSession(asked, { sessionId: id, generation: 1 })).toEqual(next);
    expect(await refresh(id, 2)).toMatchObject({ generation: 3 });
  });

  test('leaves other sessions of the customer alone', async () => {
    const { logIn, refresh } = await registeredShop();
    const [stolen, own] = [await logIn(), await logIn()];
    await refusalOf(refresh(stolen.id, 7));
    expect(await refresh(own.id, 1)).toMatchObject({ generation: 2 });
  });

  test('works until the last millisecond and not after', async () => {
    const { clock, logIn, refresh } = await registeredShop();
    const [early, late] = [await logIn(), await logIn()];
    clock.now = early.expiresAt - 1;
    expect(await refresh(early.id, 1)).toMatchObject({ generation: 2 });
    clock.advance(1);
    expect(await refusalOf(refresh(late.id, 1))).toEqual({ code: 'session_ended' });
  });

  test('refuses a session that was never opened', async () => {
    const { refresh } = await registeredShop();
    expect(await refusalOf(refresh('00000000-0000-7000-8000-ffffffffffff', 1))).toEqual({ code: 'session_ended' });
  });

  test('a replayed refusal names the request that it was decided for', async () => {
    const { shop, anyone, logIn } = await registeredShop();
    const { id } = await logIn();
    const asked = { actor: anyone, once: once(anyone, { requestId: 'the first' }) };
    const refresh = () => shop.customers.refreshSession(asked, { sessionId: id, generation: 9 });
    await expect(refresh()).rejects.toMatchObject({ refusal: { code: 'session_ended' } });
    await expect(refresh()).rejects.toMatchObject({ refusal: { code: 'session_ended' }, decidedFor: 'the first' });
  });
});

describe('logging out', () => {
  test('ends the session, and again changes nothing', async () => {
    const { shop, anyone, logIn, refresh } = await registeredShop();
    const { id } = await logIn();
    await shop.customers.endSession({ actor: anyone }, { sessionId: id });
    await shop.customers.endSession({ actor: anyone }, { sessionId: id });
    expect(await refusalOf(refresh(id, 1))).toEqual({ code: 'session_ended' });
  });

  test('of a session that was never opened does nothing', async () => {
    const { shop, store, anyone } = await registeredShop();
    await shop.customers.endSession({ actor: anyone }, { sessionId: 'nothing' });
    expect(await store.customers.session('nothing')).toBeNull();
  });
});

describe('a customer of an outside identity provider', () => {
  test('gets a record on first use and keeps it', async () => {
    const { shop, clock } = openShop();
    const first = await shop.customers.admit({ id: 'auth0|7', email: null, name: 'Lee' });
    expect(first).toEqual({ id: 'auth0|7', email: null, name: 'Lee', createdAt: clock.now });
    clock.advance(1_000);
    expect(await shop.customers.admit({ id: 'auth0|7', email: 'new@example.com', name: 'Other' })).toEqual(first);
    expect(await shop.customers.me({ subject: 'auth0|7', role: 'customer' })).toEqual(first);
  });

  test('gets one record when it comes for the first time many times at once', async () => {
    const { shop } = openShop();
    const names = ['Lee', 'Lim', 'Luu'];
    const admitted = await Promise.all(names.map((name) => shop.customers.admit({ id: 'auth0|7', email: null, name })));
    expect(new Set(admitted.map(({ name }) => name)).size).toBe(1);
  });
});

describe('asking who I am', () => {
  test('is for customers', async () => {
    const { shop, anyone, operator } = openShop();
    expect(await refusalOf(shop.customers.me(anyone))).toEqual({ code: 'forbidden' });
    expect(await refusalOf(shop.customers.me(operator))).toEqual({ code: 'forbidden' });
  });

  test('refuses a customer without a record', async () => {
    const { shop, customer } = openShop();
    expect(await refusalOf(shop.customers.me(customer()))).toEqual({ code: 'not_found', what: 'customer' });
  });
});
