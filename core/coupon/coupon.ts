import type { Money } from '../shared/money.ts';
import { refuse } from '../shared/refusal.ts';
import { hours, type Instant } from '../shared/time.ts';
import type { Campaign, CouponTerms } from './campaign.ts';

/** One customer's, out of one campaign. It keeps the terms that it was issued with. */
export interface Coupon extends CouponTerms {
  readonly id: string;
  readonly campaignId: string;
  readonly customerId: string;
  /** Place in the campaign: 1 = first. Without gaps and ties. */
  readonly rank: number;
  readonly issuedAt: Instant;
  readonly expiresAt: Instant;
  /** The live order that it serves. */
  readonly orderId: string | null;
}

export type CouponStatus = 'usable' | 'used' | 'expired';

export const couponStatus = (coupon: Coupon, now: Instant): CouponStatus =>
  coupon.orderId !== null ? 'used' : now >= coupon.expiresAt ? 'expired' : 'usable';

/** The coupon in use for an order of `goodsTotal`. Refuses one that is used, expired, or asks for a larger order. */
export const useCoupon = (coupon: Coupon, orderId: string, goodsTotal: Money, now: Instant): Coupon => {
  const status = couponStatus(coupon, now);
  if (status === 'used') refuse({ code: 'coupon_used' });
  if (status === 'expired') refuse({ code: 'coupon_expired' });
  if (goodsTotal < coupon.minOrder) refuse({ code: 'coupon_min_order', minOrder: coupon.minOrder, goodsTotal });
  return { ...coupon, orderId };
};

/** The coupon, free again: the order that it served is no more. */
export const releaseCoupon = (coupon: Coupon): Coupon => ({ ...coupon, orderId: null });

/** The coupon that `campaign`, having just handed it out, gives. */
export const couponOf = (campaign: Campaign, id: string, customerId: string, now: Instant): Coupon => ({
  id,
  campaignId: campaign.id,
  customerId,
  rank: campaign.issued,
  discount: campaign.discount,
  minOrder: campaign.minOrder,
  maxDiscount: campaign.maxDiscount,
  issuedAt: now,
  expiresAt: now + hours(24 * campaign.validDays),
  orderId: null,
});
