import { lineName, type Sku, take } from '../catalog/product.ts';
import { type CouponTerms, discountOn } from '../coupon/campaign.ts';
import type { Payment } from '../payment/payment.ts';
import { type Money, subtract, sum, times, won } from '../shared/money.ts';
import { found, refuse } from '../shared/refusal.ts';
import type { Instant } from '../shared/time.ts';

export const orderStatuses = [
  'pending',
  'paid',
  'shipped',
  'delivered',
  'completed',
  'cancelled',
  'expired',
  'partially_refunded',
  'refunded',
] as const;
export type OrderStatus = (typeof orderStatuses)[number];

/** What is asked for. */
export interface Item {
  readonly sku: string;
  /** 1 to 10. */
  readonly quantity: number;
}

/** Frozen at the moment of the order: later prices and names do not touch it. */
export interface OrderLine {
  readonly sku: string;
  readonly productId: string;
  readonly name: string;
  readonly quantity: number;
  readonly unitPrice: Money;
  readonly discount: Money;
  /** quantity × unitPrice − discount. */
  readonly amount: Money;
}

/** The order sheet: what it would cost now. */
export interface Quote {
  readonly lines: readonly OrderLine[];
  readonly goodsTotal: Money;
  readonly discountTotal: Money;
  readonly total: Money;
}

export interface Order extends Quote {
  readonly id: string;
  readonly customerId: string;
  readonly status: OrderStatus;
  readonly refundedTotal: Money;
  readonly couponId: string | null;
  readonly payment: Payment | null;
  readonly createdAt: Instant;
  /** Unpaid beyond this moment it can no longer be paid. */
  readonly expiresAt: Instant;
}

export const MAX_ORDER_LINES = 50;
export const MAX_QUANTITY = 10;

/**
 * Shares a discount out over lines by their amounts, so that the parts add up to it exactly: each gets its share rounded down,
 * and the won that are left go, one each, to the lines that lost most by rounding (largest remainder; the earlier line first).
 */
export const shareOut = (discount: Money, amounts: readonly Money[]): readonly Money[] => {
  const total = BigInt(sum(amounts));
  if (total === 0n) return amounts.map(() => won(0));
  // A product of two amounts can be beyond 2^53.
  const exact = amounts.map((amount) => BigInt(discount) * BigInt(amount));
  const shares = exact.map((part) => Number(part / total));
  const left = discount - shares.reduce((a, b) => a + b, 0);
  const byLoss = exact
    .map((part, i) => ({ i, lost: part % total }))
    .sort((a, b) => (a.lost === b.lost ? a.i - b.i : a.lost > b.lost ? -1 : 1));
  for (const { i } of byLoss.slice(0, left)) shares[i] = (shares[i] as number) + 1;
  return shares.map(won);
};

/**
 * Prices the items at what the SKUs cost now, with a coupon's discount shared out over the lines. Refuses unknown and hidden
 * goods and a stock that does not reach. `capPercent`: the most that a discount may be of the goods total.
 */
export const quote = (
  items: readonly Item[],
  skuOf: (sku: string) => Sku | undefined,
  coupon: CouponTerms | null = null,
  capPercent = 50,
): Quote => {
  const goods = checkedItems(items).map(({ sku: code, quantity }) => {
    const sku = found(skuOf(code), 'sku');
    take(sku, quantity);
    return { sku, quantity, amount: times(sku.price, quantity) };
  });
  const goodsTotal = sum(goods.map(({ amount }) => amount));
  const discountTotal = coupon ? discountOn(coupon, goodsTotal, capPercent) : won(0);
  const discounts = shareOut(
    discountTotal,
    goods.map(({ amount }) => amount),
  );
  const lines = goods.map(({ sku, quantity, amount }, i): OrderLine => {
    const discount = discounts[i] as Money;
    return {
      sku: sku.sku,
      productId: sku.productId,
      name: lineName(sku),
      quantity,
      unitPrice: sku.price,
      discount,
      amount: subtract(amount, discount),
    };
  });
  return { lines, goodsTotal, discountTotal, total: subtract(goodsTotal, discountTotal) };
};

/** Whole pieces, 1 to 10 of one SKU at once. */
export const checkQuantity = (sku: string, quantity: number): void => {
  const allowed = Number.isInteger(quantity) && quantity >= 1 && quantity <= MAX_QUANTITY;
  if (!allowed) refuse({ code: 'invalid_quantity', sku, max: MAX_QUANTITY });
};

/** The items, when there are some, each SKU in one line, each quantity 1 to 10. */
export const checkedItems = (items: readonly Item[]): readonly Item[] => {
  if (items.length === 0) refuse({ code: 'no_items' });
  if (items.length > MAX_ORDER_LINES) refuse({ code: 'too_many_items', max: MAX_ORDER_LINES });
  const seen = new Set<string>();
  for (const { sku, quantity } of items) {
    if (seen.has(sku)) refuse({ code: 'duplicate_sku', sku });
    checkQuantity(sku, quantity);
    seen.add(sku);
  }
  return items;
};

/** The order with its payment. Refuses one that is not pending, or whose time is over. */
export const paid = (order: Order, payment: Payment): Order => {
  if (order.status !== 'pending') refuse({ code: 'order_not_payable', status: order.status });
  if (payment.paidAt >= order.expiresAt) refuse({ code: 'order_expired' });
  return { ...order, status: 'paid', payment };
};

/** The order, expired; null when it is not (any more) one that waits in vain: paid meanwhile, or its time is not over. */
export const expired = (order: Order, now: Instant): Order | null =>
  order.status === 'pending' && now >= order.expiresAt ? { ...order, status: 'expired' } : null;
