import { expect } from 'vitest';
import { claimId, newUuid } from '../../adapters/system/system.ts';
import type { Campaign } from '../../core/coupon/campaign.ts';
import type { Claim } from '../../core/coupon/claim.ts';
import type { Coupon } from '../../core/coupon/coupon.ts';
import type { Actor, Caller } from '../../core/shared/actor.ts';
import { won } from '../../core/shared/money.ts';
import { hours } from '../../core/shared/time.ts';
import { violationsOf } from '../support/invariants.ts';
import { allOf } from '../support/shop.ts';
import { shopOn } from './shop-races.ts';
import {
  atOnce,
  type Checks,
  type MakeStoreWorld,
  newCampaign,
  newCoupon,
  refusalOf,
  runChecks,
  type StoreWorld,
} from './world.ts';

const operator: Caller = { actor: { subject: 'operator', role: 'operator' } };
const newCustomer = (): Actor => ({ subject: newUuid(), role: 'customer' });

const openDrop = async (world: StoreWorld, quantity: number) => {
  const shops = [shopOn(world, world.transact), shopOn(world, world.other)] as const;
  const campaign = await shops[0].campaigns.create(operator, {
    name: 'drop',
    discount: { kind: 'percent', percent: 10 },
    minOrder: 0,
    maxDiscount: null,
    quantity,
    opensAt: Date.now() - hours(1),
    closesAt: Date.now() + hours(1),
    validDays: 7,
  });
  return { shops, campaign, asked: { campaignId: campaign.id } };
};

const put = (world: StoreWorld, records: { campaigns?: Campaign[]; coupons?: Coupon[]; claims?: Claim[] }) =>
  world.transact({}, (books) => {
    for (const campaign of records.campaigns ?? []) books.create('campaigns', campaign);
    for (const coupon of records.coupons ?? []) books.create('coupons', coupon);
    for (const claim of records.claims ?? []) books.create('claims', claim);
  });

export const couponChecks: Checks = {
  'keeps campaigns, coupons and claims as they were put': async (world) => {
    const { coupons } = world.reads;
    const fixed = newCampaign({
      name: '쿠폰 "10 %" {\\}, NULL',
      discount: { kind: 'fixed', amount: won(5_000) },
      minOrder: won(1_000_000_000_000),
      maxDiscount: won(1),
      closedAt: 1_700_000_000_001,
    });
    const percent = newCampaign();
    const coupon = newCoupon({ campaignId: fixed.id, customerId: 'an "outside" {id}', maxDiscount: won(7) });
    const id = claimId(fixed.id, coupon.customerId);
    const base = {
      campaignId: fixed.id,
      customerId: coupon.customerId,
      attempts: 3,
      firstAskedAt: 5,
      decidedAt: 1_700_000_000_123,
    };
    const issued: Claim = { ...base, id, decision: 'issued', reason: null, rank: 1, couponId: coupon.id };
    const refused: Claim = { ...base, id: newUuid(), decision: 'refused', reason: 'sold_out', rank: null, couponId: null };
    await put(world, { campaigns: [fixed, percent], coupons: [coupon], claims: [issued, refused] });
    expect(await coupons.campaign(fixed.id)).toEqual(fixed);
    expect(await coupons.campaign(percent.id)).toEqual(percent);
    expect(await coupons.coupon(coupon.id, coupon.customerId)).toEqual(coupon);
    expect(await coupons.claim(id, coupon.customerId)).toEqual({ claim: issued, coupon });
    expect(await coupons.claim(refused.id, coupon.customerId)).toEqual({ claim: refused, coupon: null });
    const loaded = await world.transact({ campaigns: [fixed.id], coupons: [coupon.id], claims: [id] }, (books) => [
      books.get('campaigns', fixed.id),
      books.get('coupons', coupon.id),
      books.get('claims', id),
    ]);
    expect(loaded).toEqual([fixed, coupon, issued]);
  },

  'shows a coupon and a claim to their owner only': async (world) => {
    const { coupons } = world.reads;
    const coupon = newCoupon();
    const id = newUuid();
    const { campaignId, customerId } = coupon;
    const at = { firstAskedAt: 1, decidedAt: 1, attempts: 1 };
    await put(world, {
      coupons: [coupon],
      claims: [{ ...at, id, campaignId, customerId, decision: 'issued', reason: null, rank: 1, couponId: coupon.id }],
    });
    expect([await coupons.coupon(coupon.id, 'somebody'), await coupons.claim(id, 'somebody')]).toEqual([null, null]);
    expect([await coupons.coupon(newUuid(), customerId), await coupons.claim('no id', customerId)]).toEqual([null, null]);
  },

  'lists what a customer holds, newest first, by status, page by page': async (world) => {
    const customerId = newUuid();
    const now = 2_000_000_000_000;
    const all = [
      newCoupon({ customerId, expiresAt: now + 1 }),
      newCoupon({ customerId, expiresAt: now }),
      newCoupon({ customerId, orderId: newUuid(), expiresAt: now - 1 }),
      newCoupon({ customerId, expiresAt: now + 2 }),
    ];
    await put(world, { coupons: [...all, newCoupon()] });
    const ids = async (status?: 'usable' | 'used' | 'expired') =>
      (await allOf((page) => world.reads.coupons.held(customerId, { status, now }, page), 1)).map(({ id }) =>
        all.findIndex((one) => one.id === id),
      );
    expect([await ids(), await ids('usable'), await ids('expired'), await ids('used')]).toEqual([[3, 2, 1, 0], [3, 0], [1], [2]]);
  },

  'ranks by rank, and tells a gate who holds a coupon': async (world) => {
    const { shops, campaign, asked } = await openDrop(world, 3);
    const people = [newCustomer(), newCustomer(), newCustomer()];
    for (const [i, actor] of people.entries()) {
      await shops[0].customers.admit({ id: actor.subject, email: null, name: `n${i}` });
      await shops[0].coupons.claim({ actor }, asked);
    }
    expect((await world.reads.coupons.ranking(campaign.id, 2)).map(({ rank, name }) => [rank, name])).toEqual([
      [1, 'n0'],
      [2, 'n1'],
    ]);
    const held = await world.holders(campaign.id);
    expect([held?.quantity, held?.customers.toSorted()]).toEqual([3, people.map(({ subject }) => subject).toSorted()]);
    expect(await world.holders(newUuid())).toBeNull();
  },

  'counts refused attempts in one record, and never unmakes an issue': async (world) => {
    const { claimLog, reads } = world;
    const [campaignId, customerId] = [newUuid(), newUuid()];
    const claim = { id: claimId(campaignId, customerId), campaignId, customerId };
    for (const at of [1_000, 2_000, 3_000]) claimLog.refused({ ...claim, reason: at < 3_000 ? 'not_open' : 'sold_out', at });
    await claimLog.flush();
    expect((await reads.coupons.claim(claim.id, customerId))?.claim).toMatchObject({
      decision: 'refused',
      reason: 'sold_out',
      attempts: 3,
    });

    const { shops, asked } = await openDrop(world, 1);
    const actor = newCustomer();
    const { rank } = await shops[0].coupons.claim({ actor }, asked);
    const id = claimId(asked.campaignId, actor.subject);
    claimLog.refused({ id, ...asked, customerId: actor.subject, reason: 'already_claimed', at: 4_000 });
    await claimLog.flush();
    expect((await reads.coupons.claim(id, actor.subject))?.claim).toMatchObject({
      decision: 'issued',
      rank,
      reason: null,
      attempts: 2,
    });
  },

  '60 customers, three times each, over two processes: exactly 40 coupons, ranks 1 to 40, one each': async (world) => {
    const { shops, campaign, asked } = await openDrop(world, 40);
    const people = Array.from({ length: 60 }, newCustomer);
    const answers = await atOnce(shops, 180, (shop, i) =>
      shop.coupons.claim({ actor: people[i % 60] as Actor }, asked).then(
        ({ rank, customerId }) => ({ rank, customerId }),
        (error) => error.refusal.code as string,
      ),
    );
    const issued = answers.filter((answer) => typeof answer === 'object');
    expect(issued.map(({ rank }) => rank).sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
    expect(new Set(issued.map(({ customerId }) => customerId)).size).toBe(40);
    expect(new Set(answers.filter((answer) => typeof answer === 'string'))).toEqual(new Set(['already_claimed', 'sold_out']));
    expect((await world.reads.coupons.campaign(campaign.id))?.issued).toBe(40);
  },

  'one coupon on ten orders at once serves one of them': async (world) => {
    const { shops, asked } = await openDrop(world, 1);
    const [shop] = shops;
    const actor = newCustomer();
    const coupon = await shop.coupons.claim({ actor }, asked);
    const sku = newUuid();
    await shop.catalog.create(operator, {
      name: 'a',
      category: 'b',
      status: 'on_sale',
      variants: [{ sku, name: 'a', price: 1_000, stock: 100 }],
    });
    const order = { items: [{ sku, quantity: 1 }], couponId: coupon.id };
    const answers = await atOnce(shops, 10, (each) => refusalOf(each.orders.place({ actor }, order)));
    expect(answers.filter((answer) => 'done' in (answer as object))).toHaveLength(1);
    expect(answers.filter((answer) => (answer as { code?: string }).code === 'coupon_used')).toHaveLength(9);
    expect(await world.reads.products.skus([sku])).toMatchObject([{ stock: 99 }]);
    expect(violationsOf(await world.everything())).toEqual([]);
  },

  'an unpaid order that two sweepers and its customer reach for at once has one end, and its stock is back once': async (
    world,
  ) => {
    const shops = [shopOn(world, world.transact, 0), shopOn(world, world.other, 0)] as const;
    const [shop] = shops;
    const actor = newCustomer();
    await shop.balance.charge({ actor }, { amount: 100_000 });
    const sku = newUuid();
    await shop.catalog.create(operator, {
      name: 'a',
      category: 'b',
      status: 'on_sale',
      variants: [{ sku, name: 'a', price: 1_000, stock: 100 }],
    });
    const orders = await Promise.all(
      Array.from({ length: 20 }, () => shop.orders.place({ actor }, { items: [{ sku, quantity: 2 }] })),
    );
    await Promise.all([
      ...shops.flatMap((each) => [each.orders.expire(), each.orders.expire()]),
      ...orders.map(({ id }) => refusalOf(shop.payments.pay({ actor }, { orderId: id }))),
    ]);
    await shop.orders.expire();
    const after = await world.everything();
    expect(new Set(after.orders.map(({ status }) => status))).toEqual(new Set(['expired']));
    expect(await world.reads.products.skus([sku])).toMatchObject([{ stock: 100 }]);
    expect(after.events.filter(({ type }) => type === 'order.expired')).toHaveLength(20);
    expect(await world.reads.orders.due(10)).toEqual([]);
    expect(violationsOf(after)).toEqual([]);
  },
};

export const couponsContract = (name: string, make: MakeStoreWorld): void =>
  runChecks(`${name}: the contract of coupons`, couponChecks, make);
