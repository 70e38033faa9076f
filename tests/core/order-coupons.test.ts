import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CreateCampaign } from '../../core/coupon/run-campaign.ts';
import type { Order } from '../../core/order/order.ts';
import { quote, shareOut } from '../../core/order/order.ts';
import type { Actor } from '../../core/shared/actor.ts';
import { sum, won } from '../../core/shared/money.ts';
import { hours, minutes } from '../../core/shared/time.ts';
import { violationsOf } from '../support/invariants.ts';
import { openShop, refusalOf } from '../support/shop.ts';

/** A shop with socks for 3,333 and hats for 5,001, and a customer who holds a coupon. */
const openWithCoupon = async (wish: Partial<CreateCampaign> = {}) => {
  const opened = openShop();
  const { shop, clock, operator, customer, product } = opened;
  const socks = await product({ price: 3_333, stock: 10 });
  const hat = await product({ price: 5_001, stock: 10 });
  const campaign = await shop.campaigns.create(
    { actor: operator },
    {
      name: 'drop',
      discount: { kind: 'percent', percent: 10 },
      minOrder: 0,
      maxDiscount: null,
      quantity: 10,
      opensAt: clock.now,
      closesAt: clock.now + hours(24),
      validDays: 7,
      ...wish,
    },
  );
  const claim = (actor: Actor) => shop.coupons.claim({ actor }, { campaignId: campaign.id });
  const kim = customer('kim');
  const coupon = await claim(kim);
  const items = [
    { sku: socks.sku, quantity: 3 },
    { sku: hat.sku, quantity: 2 },
  ];
  const place = (actor: Actor = kim): Promise<Order> => shop.orders.place({ actor }, { items, couponId: coupon.id });
  const status = async () => (await shop.coupons.held(kim, {}, { limit: 1 })).items[0]?.orderId ?? 'free';
  return { ...opened, kim, coupon, claim, items, place, status, socks, hat };
};

describe('a discount is shared out', () => {
  test('so that the parts add up to the won: 3 × 3,333 and 2 × 5,001 with 10 %', async () => {
    const { place } = await openWithCoupon();
    const { lines, goodsTotal, discountTotal, total } = await place();
    expect({ goodsTotal, discountTotal, total }).toEqual({ goodsTotal: 20_001, discountTotal: 2_000, total: 18_001 });
    expect(lines.map(({ discount, amount }) => [discount, amount])).toEqual([
      [1_000, 8_999],
      [1_000, 9_002],
    ]);
  });

  test('for any amounts: parts never negative, never above their line, and nothing is created or lost', () => {
    const amount = fc.integer({ min: 1, max: 10_000_000_000 });
    fc.assert(
      fc.property(fc.array(amount, { minLength: 1, maxLength: 50 }), fc.double({ min: 0, max: 1, noNaN: true }), (list, part) => {
        const amounts = list.map(won);
        const discount = won(Math.floor(sum(amounts) * part));
        const shares = shareOut(discount, amounts);
        expect(sum(shares)).toBe(discount);
        shares.forEach((share, i) => {
          expect(share).toBeGreaterThanOrEqual(0);
          expect(share).toBeLessThanOrEqual(amounts[i] as number);
        });
      }),
    );
  });
});

describe('a coupon on an order', () => {
  test('costs what the quote said, and serves that order alone', async () => {
    const { shop, kim, items, coupon, place, status } = await openWithCoupon();
    const quoted = await shop.orders.quote({ actor: kim }, { items, couponId: coupon.id });
    expect(await status()).toBe('free');
    const order = await place();
    expect(order).toMatchObject({ ...quoted, couponId: coupon.id });
    expect(await status()).toBe(order.id);
    expect(await refusalOf(place())).toEqual({ code: 'coupon_used' });
    expect(await refusalOf(shop.orders.quote({ actor: kim }, { items, couponId: coupon.id }))).toEqual({ code: 'coupon_used' });
  });

  test('serves one of ten orders that ask at once, and only that one takes stock', async () => {
    const { place, store, socks, status } = await openWithCoupon();
    const asked = await Promise.allSettled(Array.from({ length: 10 }, () => place()));
    expect(asked.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await store.products.skus([socks.sku])).toMatchObject([{ stock: 7 }]);
    expect(await status()).not.toBe('free');
  });

  test('of somebody else is as one that is not there', async () => {
    const { place, customer, shop, items, coupon } = await openWithCoupon();
    const lee = customer('lee');
    expect(await refusalOf(place(lee))).toEqual({ code: 'not_found', what: 'coupon' });
    expect(await refusalOf(shop.orders.quote({ actor: lee }, { items, couponId: coupon.id }))).toEqual({
      code: 'not_found',
      what: 'coupon',
    });
  });

  test('is refused when it has expired or asks for a larger order, and nothing is taken', async () => {
    const late = await openWithCoupon();
    late.clock.now = late.coupon.expiresAt;
    expect(await refusalOf(late.place())).toEqual({ code: 'coupon_expired' });
    const small = await openWithCoupon({ minOrder: 20_002 });
    expect(await refusalOf(small.place())).toEqual({ code: 'coupon_min_order', minOrder: 20_002, goodsTotal: 20_001 });
    expect(await small.store.products.skus([small.hat.sku])).toMatchObject([{ stock: 10 }]);
    expect(await small.status()).toBe('free');
  });

  test('never takes off more than the cap', () => {
    const sku = {
      sku: 'A',
      productId: '',
      productName: 'a',
      productStatus: 'on_sale',
      position: 0,
      name: 'a',
      price: won(9_999),
      stock: 1,
    } as const;
    const terms = { discount: { kind: 'fixed', amount: won(9_000) }, minOrder: won(0), maxDiscount: null } as const;
    expect(quote([{ sku: 'A', quantity: 1 }], () => sku, terms, 50)).toMatchObject({ discountTotal: 4_999, total: 5_000 });
  });
});

describe('an order that is not paid in time', () => {
  test('expires once: stock and coupon are back, and it can be paid no more', async () => {
    const { shop, clock, place, status, kim, store, socks, hat, charged, books } = await openWithCoupon();
    await charged(kim, 100_000);
    const order = await place();
    clock.advance(minutes(10) - 1);
    expect(await shop.orders.expire()).toEqual({ due: 0, more: false });
    clock.advance(1);
    expect(await refusalOf(shop.payments.pay({ actor: kim }, { orderId: order.id }))).toEqual({ code: 'order_expired' });
    await Promise.all([shop.orders.expire(), shop.orders.expire(), shop.orders.expire()]);
    expect(await shop.orders.find(kim, order.id)).toMatchObject({ status: 'expired', payment: null });
    expect(await store.products.skus([socks.sku, hat.sku])).toMatchObject([{ stock: 10 }, { stock: 10 }]);
    expect(await status()).toBe('free');
    expect(store.facts.events.filter(({ type }) => type === 'order.expired')).toHaveLength(1);
    expect(await refusalOf(shop.payments.pay({ actor: kim }, { orderId: order.id }))).toEqual({
      code: 'order_not_payable',
      status: 'expired',
    });
    expect(violationsOf(await books())).toEqual([]);
    expect(await place()).toMatchObject({ status: 'pending' });
  });

  test('is left alone when it was paid', async () => {
    const { shop, clock, place, kim, charged } = await openWithCoupon();
    await charged(kim, 100_000);
    const order = await place();
    await shop.payments.pay({ actor: kim }, { orderId: order.id });
    clock.advance(hours(1));
    expect(await shop.orders.expire()).toEqual({ due: 0, more: false });
    expect(await shop.orders.find(kim, order.id)).toMatchObject({ status: 'paid' });
  });
});
