import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { memoryClaimQueue } from '../../adapters/memory/claim-queue.ts';
import { claimId } from '../../adapters/system/system.ts';
import { type CouponTerms, discountOn } from '../../core/coupon/campaign.ts';
import type { CreateCampaign } from '../../core/coupon/run-campaign.ts';
import type { ClaimQueue, Gate } from '../../core/ports.ts';
import type { Actor } from '../../core/shared/actor.ts';
import { won } from '../../core/shared/money.ts';
import { hours } from '../../core/shared/time.ts';
import { once, openShop, refusalOf, type ShopOptions } from '../support/shop.ts';

const DAY = hours(24);

const openDrop = async (wish: Partial<CreateCampaign> = {}, options: ShopOptions = {}) => {
  const opened = openShop(options);
  const { shop, clock, operator } = opened;
  const campaign = await shop.campaigns.create(
    { actor: operator },
    {
      name: 'drop',
      discount: { kind: 'percent', percent: 10 },
      minOrder: 0,
      maxDiscount: null,
      quantity: 2,
      opensAt: clock.now,
      closesAt: clock.now + DAY,
      validDays: 7,
      ...wish,
    },
  );
  const claim = (actor: Actor) => shop.coupons.claim({ actor }, { campaignId: campaign.id });
  const record = async (actor: Actor) =>
    (await opened.store.coupons.claim(claimId(campaign.id, actor.subject), actor.subject))?.claim;
  return { ...opened, campaign, claim, record };
};

describe('a claim', () => {
  test('gives coupons in the order of asking, ranks from 1, until they are gone', async () => {
    const { shop, campaign, claim, customer } = await openDrop({ quantity: 3 });
    const asked = await Promise.allSettled(Array.from({ length: 5 }, () => claim(customer())));
    expect(asked.map((one) => (one.status === 'fulfilled' ? one.value.rank : one.reason.refusal.code))).toEqual([
      1,
      2,
      3,
      'sold_out',
      'sold_out',
    ]);
    expect(await shop.campaigns.find(campaign.id)).toMatchObject({ campaign: { issued: 3 }, queued: 0 });
  });

  test('gives a customer one coupon, however often and at once it asks', async () => {
    const { claim, customer, record, shop } = await openDrop({ quantity: 5 });
    const kim = customer();
    const asked = await Promise.all(Array.from({ length: 5 }, () => refusalOf(claim(kim))));
    expect(asked.filter((answer) => 'done' in (answer as object))).toHaveLength(1);
    expect(asked.filter((answer) => (answer as { code?: string }).code === 'already_claimed')).toHaveLength(4);
    expect(await shop.coupons.held(kim, {}, { limit: 10 })).toMatchObject({ items: [{ rank: 1, customerId: kim.subject }] });
    expect(await record(kim)).toMatchObject({ decision: 'issued', rank: 1, reason: null, attempts: 5 });
  });

  test('is refused before the opening and after the end, and the record counts the attempts', async () => {
    const { claim, clock, customer, record, campaign } = await openDrop({ opensAt: Date.parse('2026-03-10T04:00:00Z') });
    const kim = customer();
    expect(await refusalOf(claim(kim))).toEqual({ code: 'not_open', opensAt: campaign.opensAt });
    expect(await refusalOf(claim(kim))).toMatchObject({ code: 'not_open' });
    expect(await record(kim)).toMatchObject({ decision: 'refused', reason: 'not_open', attempts: 2, rank: null });
    clock.now = campaign.opensAt;
    expect(await claim(kim)).toMatchObject({ rank: 1 });
    expect(await record(kim)).toMatchObject({ decision: 'issued', reason: null, attempts: 3 });
    clock.now = campaign.closesAt;
    expect(await refusalOf(claim(customer()))).toEqual({ code: 'closed' });
  });

  test('on a campaign that an operator closed is refused, and the coupons that are out stay good', async () => {
    const { shop, claim, campaign, customer, operator } = await openDrop();
    const kim = customer();
    await claim(kim);
    await shop.campaigns.close({ actor: operator }, { campaignId: campaign.id });
    const again = await shop.campaigns.close({ actor: operator }, { campaignId: campaign.id });
    expect(again.issued).toBe(1);
    expect(await refusalOf(claim(customer()))).toEqual({ code: 'closed' });
    expect((await shop.coupons.held(kim, { status: 'usable' }, { limit: 10 })).items).toHaveLength(1);
  });

  test('is for customers, and a campaign is for operators to make', async () => {
    const { shop, claim, operator, anyone, customer, campaign } = await openDrop();
    expect(await refusalOf(claim(operator))).toEqual({ code: 'forbidden' });
    expect(await refusalOf(claim(anyone))).toEqual({ code: 'forbidden' });
    expect(await refusalOf(shop.campaigns.close({ actor: customer() }, { campaignId: campaign.id }))).toEqual({
      code: 'forbidden',
    });
  });

  test('under one idempotency key is one claim, also when all are gone by then', async () => {
    const { shop, claim, campaign, customer } = await openDrop({ quantity: 1 });
    const actor = customer();
    const asked = { actor, once: once(actor) };
    const coupon = await shop.coupons.claim(asked, { campaignId: campaign.id });
    expect(await refusalOf(claim(customer()))).toEqual({ code: 'sold_out' });
    expect(await shop.coupons.claim(asked, { campaignId: campaign.id })).toEqual(coupon);
  });

  test('on a campaign that does not exist is not found', async () => {
    const { shop, customer } = await openDrop();
    const nowhere = { campaignId: randomUUID() };
    expect(await refusalOf(shop.coupons.claim({ actor: customer() }, nowhere))).toEqual({ code: 'not_found', what: 'campaign' });
    expect(await refusalOf(shop.coupons.enqueue({ actor: customer() }, nowhere))).toEqual({
      code: 'not_found',
      what: 'campaign',
    });
  });

  test.each<[string, Gate['admit']]>([
    ['lets everybody pass', async () => ({ sequence: null })],
    ['reserves for everybody', async () => ({ sequence: 1 })],
  ])('is right whatever the gate does: one that %s', async (_what, admit) => {
    const gate: Gate = { admit, settle: () => {} };
    const { claim, customer } = await openDrop({ quantity: 3 }, { ports: () => ({ gate }) });
    const crowd = Array.from({ length: 10 }, () => customer());
    const answers = await Promise.all([...crowd, ...crowd].map((actor) => refusalOf(claim(actor))));
    const ranks = answers.flatMap((answer) =>
      'done' in (answer as object) ? [(answer as { done: { rank: number } }).done.rank] : [],
    );
    expect(ranks).toEqual([1, 2, 3]);
  });
});

describe('a coupon', () => {
  test('expires after its days', async () => {
    const { shop, claim, clock, customer } = await openDrop({ validDays: 7 });
    const kim = customer();
    const { issuedAt, expiresAt } = await claim(kim);
    expect(expiresAt - issuedAt).toBe(7 * DAY);
    const statuses = async () =>
      Promise.all(
        (['usable', 'used', 'expired'] as const).map(
          async (status) => (await shop.coupons.held(kim, { status }, { limit: 9 })).items.length,
        ),
      );
    expect(await statuses()).toEqual([1, 0, 0]);
    clock.now = expiresAt;
    expect(await statuses()).toEqual([0, 0, 1]);
  });

  test.each<[string, Partial<CouponTerms>, number, number]>([
    ['a percentage', { discount: { kind: 'percent', percent: 10 } }, 9_999, 999],
    ['a percentage, at most so much', { discount: { kind: 'percent', percent: 50 }, maxDiscount: won(3_000) }, 20_000, 3_000],
    ['an amount', { discount: { kind: 'fixed', amount: won(5_000) } }, 20_000, 5_000],
    ['never more than half of the goods', { discount: { kind: 'fixed', amount: won(5_000) } }, 7_001, 3_500],
    ['never more than half, whatever the percentage', { discount: { kind: 'percent', percent: 99 } }, 10_000, 5_000],
    ['nothing below its minimum order', { minOrder: won(10_000) }, 9_999, 0],
    ['something from its minimum order on', { minOrder: won(10_000) }, 10_000, 1_000],
  ])('takes off %s', (_what, wish, goods, off) => {
    const terms: CouponTerms = { discount: { kind: 'percent', percent: 10 }, minOrder: won(0), maxDiscount: null, ...wish };
    expect(discountOn(terms, won(goods), 50)).toBe(off);
  });
});

describe('a campaign', () => {
  test.each<[string, Partial<CreateCampaign>, 'window' | 'discount']>([
    ['closes before it opens', { opensAt: 2_000, closesAt: 2_000 }, 'window'],
    ['takes off 0 %', { discount: { kind: 'percent', percent: 0 } }, 'discount'],
    ['takes off 100 %', { discount: { kind: 'percent', percent: 100 } }, 'discount'],
    ['takes off 0 won', { discount: { kind: 'fixed', amount: 0 } }, 'discount'],
  ])('that %s is refused', async (_what, wish, reason) => {
    expect(await refusalOf(openDrop(wish))).toEqual({ code: 'invalid_campaign', reason });
  });
});

describe('a claim that is queued', () => {
  test('waits in order and is decided by the worker; its outcome stays', async () => {
    const { shop, campaign, customer } = await openDrop({ quantity: 1 });
    const [first, second] = [customer(), customer()];
    const queued = await shop.coupons.enqueue({ actor: first }, { campaignId: campaign.id });
    expect(queued).toMatchObject({ status: 'queued', position: 1 });
    const { id } = await shop.coupons.enqueue({ actor: second }, { campaignId: campaign.id });
    expect(await shop.coupons.find(second, id)).toMatchObject({ status: 'queued', position: 2 });
    expect(await shop.campaigns.find(campaign.id)).toMatchObject({ queued: 2 });

    const work = shop.coupons.work();
    await expect.poll(() => shop.coupons.find(second, id).then(({ status }) => status)).toBe('refused');
    await work.stop();
    expect(await shop.coupons.find(first, queued.id)).toMatchObject({ status: 'issued', coupon: { rank: 1 } });
    expect(await shop.coupons.find(second, id)).toMatchObject({ reason: 'sold_out' });
    expect(await refusalOf(shop.coupons.find(first, id))).toEqual({ code: 'not_found', what: 'claim' });
  });

  test('holds nothing: when the queue is lost it is not found, and can be made again', async () => {
    const queues = [memoryClaimQueue(), memoryClaimQueue()] as const;
    let alive = 0;
    const claimQueue: ClaimQueue = {
      add: (claim) => queues[alive as 0].add(claim),
      find: (id) => queues[alive as 0].find(id),
      size: (id) => queues[alive as 0].size(id),
      work: (decide) => queues[alive as 0].work(decide),
    };
    const { shop, campaign, customer } = await openDrop({ quantity: 1 }, { ports: () => ({ claimQueue }) });
    const kim = customer();
    const asked = await shop.coupons.enqueue({ actor: kim }, { campaignId: campaign.id });
    alive = 1;
    expect(await refusalOf(shop.coupons.find(kim, asked.id))).toEqual({ code: 'not_found', what: 'claim' });
    const again = await shop.coupons.enqueue({ actor: kim }, { campaignId: campaign.id });
    expect(again.id).toBe(asked.id);
    const work = shop.coupons.work();
    await expect.poll(() => shop.coupons.find(kim, again.id).then(({ status }) => status)).toBe('issued');
    await work.stop();
  });
});

test('any crowd, in any order, sync or queued: no more than there are, one each, ranks without gaps', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 6 }),
      fc.array(fc.record({ who: fc.integer({ min: 0, max: 7 }), queued: fc.boolean() }), { maxLength: 30 }),
      async (quantity, asks) => {
        const { shop, campaign, customer, store } = await openDrop({ quantity });
        const work = shop.coupons.work();
        const people = Array.from({ length: 8 }, (_, i) => customer(`c${i}`));
        await Promise.allSettled(
          asks.map(({ who, queued }) => {
            const actor = people[who] as Actor;
            return queued
              ? shop.coupons.enqueue({ actor }, { campaignId: campaign.id })
              : shop.coupons.claim({ actor }, { campaignId: campaign.id });
          }),
        );
        await expect.poll(() => shop.campaigns.find(campaign.id).then(({ queued }) => queued), { interval: 1 }).toBe(0);
        await work.stop();
        const askers = new Set(asks.map(({ who }) => who)).size;
        const held = (await Promise.all(people.map((actor) => shop.coupons.held(actor, {}, { limit: 9 })))).map(
          ({ items }) => items,
        );
        for (const items of held) expect(items.length).toBeLessThanOrEqual(1);
        const ranks = held.flat().map(({ rank }) => rank);
        expect(ranks.toSorted((a, b) => a - b)).toEqual(Array.from({ length: Math.min(quantity, askers) }, (_, i) => i + 1));
        expect((await store.coupons.campaign(campaign.id))?.issued).toBe(ranks.length);
      },
    ),
    { numRuns: 50 },
  );
});
