import { lineName, type ProductStatus, type Sku } from '../catalog/product.ts';
import { type Money, times } from '../shared/money.ts';
import { refuse } from '../shared/refusal.ts';
import type { Instant } from '../shared/time.ts';

export interface CartItem {
  readonly sku: string;
  readonly quantity: number;
  /** The price when the customer last put it in: what changed since is shown. */
  readonly unitPrice: Money;
  readonly addedAt: Instant;
}

/** One a customer. Holds nothing back from anybody else. */
export interface Cart {
  readonly customerId: string;
  readonly items: readonly CartItem[];
}

export type CartChange = 'price_changed' | 'insufficient_stock' | 'not_on_sale';

export interface CartLine {
  readonly sku: string;
  readonly productId: string;
  readonly name: string;
  readonly quantity: number;
  readonly unitPrice: Money;
  readonly unitPriceWhenAdded: Money;
  readonly amount: Money;
  readonly stock: number;
  readonly status: ProductStatus;
  readonly changes: readonly CartChange[];
  readonly addedAt: Instant;
}

export interface CartView {
  readonly items: readonly CartLine[];
  /** What the lines cost now. */
  readonly total: Money;
}

export const MAX_CART_ITEMS = 50;

export const emptyCart = (customerId: string): Cart => ({ customerId, items: [] });

/** Sets the quantity of one SKU; a new one goes to the end. */
export const putItem = (cart: Cart, item: CartItem): Cart => {
  const at = cart.items.findIndex(({ sku }) => sku === item.sku);
  if (at >= 0) return { ...cart, items: cart.items.with(at, item) };
  if (cart.items.length >= MAX_CART_ITEMS) refuse({ code: 'cart_full', max: MAX_CART_ITEMS });
  return { ...cart, items: [...cart.items, item] };
};

export const withoutItem = (cart: Cart, sku: string): Cart => ({ ...cart, items: cart.items.filter((item) => item.sku !== sku) });

/** A line at today's price and stock, and what changed since it was put in. */
export const lineOf = (item: CartItem, sku: Sku): CartLine => {
  const changes: CartChange[] = [];
  if (sku.productStatus !== 'on_sale') changes.push('not_on_sale');
  if (sku.stock < item.quantity) changes.push('insufficient_stock');
  if (sku.price !== item.unitPrice) changes.push('price_changed');
  return {
    sku: sku.sku,
    productId: sku.productId,
    name: lineName(sku),
    quantity: item.quantity,
    unitPrice: sku.price,
    unitPriceWhenAdded: item.unitPrice,
    amount: times(sku.price, item.quantity),
    stock: sku.stock,
    status: sku.productStatus,
    changes,
    addedAt: item.addedAt,
  };
};
