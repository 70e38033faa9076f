import { describe, expect, test } from 'vitest';
import { expectProblem, INSTANT, type Json, openHttp, UUID } from '../support/http.ts';

const world = await openHttp();
const { operator, anyone } = world;
const at = (offset: number) => new Date(world.clock.now + offset).toISOString();
const HOUR = 3_600_000;
const nowhere = '00000000-0000-7000-8000-ffffffffffff';

const wish = (changes: object = {}) => ({
  name: 'drop',
  discount: { kind: 'percent', percent: 10 },
  quantity: 2,
  opensAt: at(-HOUR),
  closesAt: at(HOUR),
  validDays: 7,
  ...changes,
});
const newCampaign = async (changes: object = {}): Promise<Json> => {
  const { status, body } = await operator.post('/v1/campaigns', wish(changes));
  expect(status).toBe(201);
  return body;
};
const claimsOf = ({ id }: { id: string }) => `/v1/campaigns/${id}/claims`;

describe('campaigns', () => {
  test('are announced by operators and read by anyone, in the shape of the contract', async () => {
    const made = await newCampaign({ minOrder: 5_000, maxDiscount: 2_000, discount: { kind: 'fixed', amount: 3_000 } });
    expect(made).toEqual({
      id: UUID,
      name: 'drop',
      discount: { kind: 'fixed', amount: 3_000 },
      minOrder: 5_000,
      maxDiscount: 2_000,
      quantity: 2,
      opensAt: at(-HOUR),
      closesAt: at(HOUR),
      validDays: 7,
      issued: 0,
      remaining: 2,
      queued: 0,
      ended: false,
      status: 'open',
    });
    expect((await anyone.get(`/v1/campaigns/${made.id}`)).body).toEqual(made);
    const { body } = await anyone.get('/v1/campaigns?limit=1');
    expect(body.items).toEqual([made]);
    expectProblem(await anyone.get(`/v1/campaigns/${nowhere}`), 404, 'not_found');
    expectProblem(await anyone.get(`/v1/campaigns/${nowhere}/ranking`), 404, 'not_found');
  });

  test('take an opening time with any offset and answer in UTC', async () => {
    expect(await newCampaign({ opensAt: '2026-11-21T18:00:00+09:00', closesAt: '2036-11-21T18:00:00+09:00' })).toMatchObject({
      opensAt: '2026-11-21T09:00:00.000Z',
      closesAt: '2036-11-21T09:00:00.000Z',
    });
  });

  test.each<[string, object]>([
    ['no discount', { discount: undefined }],
    ['100 %', { discount: { kind: 'percent', percent: 100 } }],
    ['0 won off', { discount: { kind: 'fixed', amount: 0 } }],
    ['a discount of two kinds', { discount: { kind: 'percent', percent: 10, amount: 1_000 } }],
    ['an unknown kind', { discount: { kind: 'gift' } }],
    ['no coupons', { quantity: 0 }],
    ['half a coupon', { quantity: 1.5 }],
    ['a day that is no day', { opensAt: '2026-02-30T00:00:00Z' }],
    ['a time without a zone', { opensAt: '2026-02-03T00:00:00' }],
    ['an unknown field', { perCustomer: 2 }],
    ['a blank name', { name: ' ' }],
    ['no days', { validDays: 0 }],
  ])('with %s are refused', async (_what, changes) => {
    expectProblem(await operator.post('/v1/campaigns', wish(changes)), 400, 'validation_failed');
  });

  test('that close before they open are refused', async () => {
    expectProblem(await operator.post('/v1/campaigns', wish({ closesAt: at(-2 * HOUR) })), 400, 'invalid_campaign');
  });

  test('are not for customers to announce or close', async () => {
    const kim = await world.customer();
    const { id } = await newCampaign();
    expectProblem(await kim.post('/v1/campaigns', wish()), 403, 'forbidden');
    expectProblem(await kim.post(`/v1/campaigns/${id}/close`), 403, 'forbidden');
    expectProblem(await anyone.post(`/v1/campaigns/${id}/close`), 401, 'unauthenticated');
  });

  test('are closed for good', async () => {
    const made = await newCampaign();
    const closed = await operator.post(`/v1/campaigns/${made.id}/close`);
    expect([closed.status, closed.body]).toEqual([200, { ...made, status: 'closed', ended: true }]);
    expectProblem(await (await world.customer()).post(claimsOf(made)), 409, 'closed');
    expectProblem(await operator.post(`/v1/campaigns/${nowhere}/close`), 404, 'not_found');
  });
});

describe('a claim', () => {
  test('answers with the coupon and its rank; the others are told why not', async () => {
    const made = await newCampaign();
    const [kim, lee, park] = [await world.customer('Kim'), await world.customer('Lee'), await world.customer('Park')];
    const first = await kim.post(claimsOf(made));
    expect([first.status, first.body]).toEqual([
      201,
      {
        id: UUID,
        campaignId: made.id,
        rank: 1,
        discount: made.discount,
        status: 'usable',
        issuedAt: INSTANT,
        expiresAt: INSTANT,
        orderId: null,
      },
    ]);
    expectProblem(await kim.post(claimsOf(made)), 409, 'already_claimed');
    expect((await lee.post(claimsOf(made), {})).body.rank).toBe(2);
    expectProblem(await park.post(claimsOf(made)), 409, 'sold_out');
    // Whoever holds one is told so, also when all are gone.
    expectProblem(await kim.post(claimsOf(made)), 409, 'already_claimed');
    expect((await anyone.get(`/v1/campaigns/${made.id}`)).body).toMatchObject({
      issued: 2,
      remaining: 0,
      ended: true,
      status: 'sold_out',
    });
    expect((await kim.get('/v1/coupons')).body).toEqual({ items: [first.body], nextCursor: null });
    expect((await kim.get('/v1/coupons?status=expired')).body.items).toEqual([]);
    const ranking = await anyone.get(`/v1/campaigns/${made.id}/ranking?limit=1`);
    expect(ranking.body).toEqual({ items: [{ rank: 1, name: 'K***', issuedAt: first.body.issuedAt, afterOpening: HOUR }] });
  });

  test('before the opening is told when to come back', async () => {
    const made = await newCampaign({ opensAt: at(HOUR), closesAt: at(2 * HOUR) });
    expect(made.status).toBe('scheduled');
    const { detail } = expectProblem(await (await world.customer()).post(claimsOf(made)), 409, 'not_open');
    expect(detail).toContain(made.opensAt);
  });

  test('takes no fields', async () => {
    const made = await newCampaign();
    expectProblem(await (await world.customer()).post(claimsOf(made), { rank: 1 }), 400, 'validation_failed');
  });

  test('is for customers, on campaigns that exist', async () => {
    const made = await newCampaign();
    expectProblem(await anyone.post(claimsOf(made)), 401, 'unauthenticated');
    expectProblem(await operator.post(claimsOf(made)), 403, 'forbidden');
    expectProblem(await (await world.customer()).post(claimsOf({ id: nowhere })), 404, 'not_found');
  });
});

describe('a claim that is queued', () => {
  const LATER = { prefer: 'respond-async' };

  test('says where it stands, is watched until it is decided, and keeps its outcome', async () => {
    const own = await openHttp();
    const made = (await own.operator.post('/v1/campaigns', wish({ quantity: 1 }))).body;
    const [kim, lee] = [await own.customer('Kim'), await own.customer('Lee')];
    const first = await kim.post(claimsOf(made), undefined, LATER);
    expect([first.status, first.headers['preference-applied'], first.headers.location]).toEqual([
      202,
      'respond-async',
      `/v1/claims/${first.body.id}`,
    ]);
    expect(first.body).toEqual({ id: UUID, campaignId: made.id, status: 'queued', position: 1, coupon: null, reason: null });
    const second = (await lee.post(claimsOf(made), undefined, LATER)).body;
    expect(second.position).toBe(2);
    expect((await own.anyone.get(`/v1/campaigns/${made.id}`)).body.queued).toBe(2);

    const watched = Promise.all([kim.get(`/v1/claims/${first.body.id}/events`), lee.get(`/v1/claims/${second.id}/events`)]);
    const work = own.shop.coupons.work();
    const [issued, refused] = await watched;
    await work.stop();
    expect(issued.headers['content-type']).toContain('text/event-stream');
    expect(issued.text).toMatch(
      /^event: queued\ndata: \{.*\}\n\n(:\n\n|event: queued.*\n.*\n\n)*event: issued\ndata: \{.*"rank":1.*\}\n\n$/,
    );
    expect(refused.text).toMatch(/event: refused\ndata: \{.*"reason":"sold_out"\}\n\n$/);
    const after = (await kim.get(`/v1/claims/${first.body.id}`)).body;
    expect(after).toMatchObject({ status: 'issued', position: null, coupon: { rank: 1 } });
    expectProblem(await kim.post(claimsOf(made), undefined, LATER), 409, 'already_claimed');
    expectProblem(await lee.get(`/v1/claims/${first.body.id}`), 404, 'not_found');
  });
});

describe('a coupon on an order', () => {
  test('costs what its quote says, is used by it, and serves no other', async () => {
    const made = await newCampaign();
    const kim = await world.customer();
    const { id: couponId } = (await kim.post(claimsOf(made))).body;
    const { variants } = await world.product({ price: 3_333, stock: 10 });
    const order = { items: [{ sku: variants[0].sku, quantity: 3 }], couponId };
    const quoted = await kim.post('/v1/orders/quotes', order);
    expect(quoted.body).toMatchObject({ goodsTotal: 9_999, discountTotal: 999, total: 9_000 });
    const placed = await kim.post('/v1/orders', order);
    expect(placed.body).toMatchObject({ ...quoted.body, couponId, lines: [{ discount: 999, amount: 9_000 }] });
    expect((await kim.get('/v1/coupons?status=used')).body.items).toMatchObject([{ id: couponId, orderId: placed.body.id }]);
    expectProblem(await kim.post('/v1/orders', order), 409, 'coupon_used');
    expectProblem(await (await world.customer()).post('/v1/orders', order), 404, 'not_found');
  });

  test('is told how much is missing for it', async () => {
    const made = await newCampaign({ minOrder: 10_000 });
    const kim = await world.customer();
    const { id: couponId } = (await kim.post(claimsOf(made))).body;
    const { variants } = await world.product({ price: 1_000 });
    const answer = await kim.post('/v1/orders', { items: [{ sku: variants[0].sku, quantity: 3 }], couponId });
    const { detail } = expectProblem(answer, 409, 'coupon_min_order');
    expect(detail).toContain('10000');
    expect((await kim.get('/v1/coupons?status=usable')).body.items).toHaveLength(1);
  });
});
