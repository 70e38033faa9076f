import { lineName, type Sku, take } from '../catalog/product.ts';
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

/** Prices the items at what the SKUs cost now. Refuses unknown and hidden goods and a stock that does not reach. */
export const quote = (items: readonly Item[], skuOf: (sku: string) => Sku | undefined): Quote => {
  const lines = checkedItems(items).map(({ sku: code, quantity }): OrderLine => {
    const sku = found(skuOf(code), 'sku');
    take(sku, quantity);
    return {
      sku: sku.sku,
      productId: sku.productId,
      name: lineName(sku),
      quantity,
      unitPrice: sku.price,
      discount: won(0),
      amount: times(sku.price, quantity),
    };
  });
  const goodsTotal = sum(lines.map((line) => times(line.unitPrice, line.quantity)));
  const discountTotal = sum(lines.map((line) => line.discount));
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
