import { type Money, won } from '../shared/money.ts';
import { refuse } from '../shared/refusal.ts';
import type { Instant } from '../shared/time.ts';

export type Discount =
  | { readonly kind: 'percent' /** 1 to 99. */; readonly percent: number }
  | { readonly kind: 'fixed'; readonly amount: Money };

/** What a coupon takes off, and from which orders. */
export interface CouponTerms {
  readonly discount: Discount;
  /** Goods total from which it may be used. */
  readonly minOrder: Money;
  /** The most that it takes off; null for no limit of its own. */
  readonly maxDiscount: Money | null;
}

export interface Campaign extends CouponTerms {
  readonly id: string;
  readonly name: string;
  /** Coupons to hand out. */
  readonly quantity: number;
  /** Coupons handed out; also the highest rank. Never above `quantity`. */
  readonly issued: number;
  readonly opensAt: Instant;
  readonly closesAt: Instant;
  /** When an operator closed it before its time. */
  readonly closedAt: Instant | null;
  /** Days for which a coupon can be used after its issue. */
  readonly validDays: number;
  readonly createdAt: Instant;
}

export type CampaignStatus = 'scheduled' | 'open' | 'sold_out' | 'closed';

/** `sold_out` and `closed` are final: a campaign's quantity never rises and it is never opened again. */
export const campaignStatus = (campaign: Campaign, now: Instant): CampaignStatus => {
  if (campaign.closedAt !== null || now >= campaign.closesAt) return 'closed';
  if (campaign.issued >= campaign.quantity) return 'sold_out';
  return now < campaign.opensAt ? 'scheduled' : 'open';
};

/** Why it will never give a coupon again, as far as no clock has to be asked. */
export const overFor = ({ closedAt, issued, quantity }: Campaign): 'closed' | 'sold_out' | undefined =>
  closedAt !== null ? 'closed' : issued >= quantity ? 'sold_out' : undefined;

/** The campaign with one more coupon handed out; `issued` is that coupon's rank. Refuses when there is none to have now. */
export const handOut = (campaign: Campaign, now: Instant): Campaign => {
  const status = campaignStatus(campaign, now);
  if (status === 'scheduled') refuse({ code: 'not_open', opensAt: campaign.opensAt });
  if (status === 'closed') refuse({ code: 'closed' });
  if (status === 'sold_out') refuse({ code: 'sold_out' });
  return { ...campaign, issued: campaign.issued + 1 };
};

/**
 * What a coupon takes off an order's goods total: its discount, at most `maxDiscount`, at most `capPercent` of the goods.
 * Fractions of a won go to the shop. 0 when the order is below `minOrder`.
 */
export const discountOn = ({ discount, minOrder, maxDiscount }: CouponTerms, goodsTotal: Money, capPercent: number): Money => {
  if (goodsTotal < minOrder) return won(0);
  const full = discount.kind === 'percent' ? Math.floor((goodsTotal * discount.percent) / 100) : discount.amount;
  return won(Math.min(full, maxDiscount ?? full, Math.floor((goodsTotal * capPercent) / 100)));
};
