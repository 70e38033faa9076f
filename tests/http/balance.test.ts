import { describe, expect, test } from 'vitest';
import { expectProblem, INSTANT, type Json, openHttp, UUID } from '../support/http.ts';

const world = await openHttp();
const charge = (client: { post: (path: string, body: unknown) => Promise<Json> }, amount: unknown) =>
  client.post('/v1/balance/charges', { amount });

describe('the balance', () => {
  test('is nothing at first, and grows by what is charged', async () => {
    const kim = await world.customer();
    const first = await kim.get('/v1/balance');
    expect([first.status, first.body]).toEqual([200, { balance: 0, currency: 'KRW' }]);

    const charged = await charge(kim, 1_000);
    expect(charged.status).toBe(201);
    expect(charged.body).toEqual({ id: UUID, amount: 1_000, balance: 1_000, createdAt: INSTANT });
    expect((await charge(kim, 1_000_000)).body.balance).toBe(1_001_000);
    expect((await kim.get('/v1/balance')).body).toEqual({ balance: 1_001_000, currency: 'KRW' });
  });

  test('is charged within the policy only', async () => {
    const kim = await world.customer();
    const before = await world.state();
    for (const amount of [999, 1_001, 1_500, 1_001_000, 1_000_000_000_000])
      expectProblem(await charge(kim, amount), 400, 'invalid_charge_amount');
    for (const body of [{}, { amount: '1000' }, { amount: 1_000, currency: 'USD' }, { amount: null }, [1_000]])
      expectProblem(await kim.post('/v1/balance/charges', body), 400, 'validation_failed');
    expect(await world.state()).toEqual(before);
  });

  test('is charged three times a day and ten times a month at the most, in the days of the shop', async () => {
    const own = await openHttp();
    const kim = await own.customer();
    const months = new Intl.DateTimeFormat('en', { timeZone: 'Asia/Seoul', day: 'numeric' });
    while (months.format(own.clock.now) !== '1') own.clock.advance(3_600_000);
    for (const times of [3, 3, 3, 1]) {
      for (let i = 0; i < times; i++) expect((await charge(kim, 1_000)).status).toBe(201);
      const { detail } = expectProblem(await charge(kim, 1_000), 409, 'charge_limit_reached');
      expect(detail).toContain(times === 3 ? '3 times a day' : '10 times a month');
      own.clock.advance(86_400_000);
    }
    expect((await kim.get('/v1/balance')).body.balance).toBe(10_000);
    expect((await charge(await own.customer(), 1_000)).status).toBe(201);
  });

  test.each(['/v1/balance', '/v1/balance/entries'])('GET %s is for customers', async (path) => {
    expectProblem(await world.anyone.get(path), 401, 'unauthenticated');
    expectProblem(await world.operator.get(path), 403, 'forbidden');
  });

  test('charging is for customers', async () => {
    expectProblem(await charge(world.anyone, 1_000), 401, 'unauthenticated');
    expectProblem(await charge(world.operator, 1_000), 403, 'forbidden');
  });
});

describe('the ledger', () => {
  test('shows what came and went, newest first, and its sum is the balance', async () => {
    const kim = await world.customer();
    const { variants } = await world.product({ price: 700 });
    await charge(kim, 5_000);
    const { body: order } = await kim.post('/v1/orders', { items: [{ sku: variants[0].sku, quantity: 2 }], pay: 'balance' });
    const answer = await kim.get('/v1/balance/entries');
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({
      items: [
        { id: UUID, kind: 'payment', amount: -1_400, balance: 3_600, orderId: order.id, createdAt: INSTANT },
        { id: UUID, kind: 'charge', amount: 5_000, balance: 5_000, orderId: null, createdAt: INSTANT },
      ],
      nextCursor: null,
    });
  });

  test('pages show each entry once, while new ones arrive', async () => {
    const kim = await world.customer();
    for (const amount of [1_000, 2_000]) await charge(kim, amount);
    const first = (await kim.get('/v1/balance/entries?limit=1')).body;
    await charge(kim, 3_000);
    const second = (await kim.get(`/v1/balance/entries?limit=1&cursor=${first.nextCursor}`)).body;
    expect([...first.items, ...second.items].map(({ amount }: Json) => amount)).toEqual([2_000, 1_000]);
    expect(second.nextCursor).toBeNull();
  });

  test.each(['limit=0', 'limit=101', 'limit=a', 'cursor=.', 'kind=charge', 'customerId=1'])('?%s is refused', async (query) => {
    const kim = await world.customer();
    expectProblem(await kim.get(`/v1/balance/entries?${query}`), 400, 'validation_failed');
  });
});
