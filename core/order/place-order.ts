import { remembering } from '../books.ts';
import { emptyCart } from '../cart/cart.ts';
import { take } from '../catalog/product.ts';
import { type Coupon, useCoupon } from '../coupon/coupon.ts';
import { emit } from '../event/event.ts';
import { payFromBalance } from '../payment/pay-order.ts';
import type { Ports } from '../ports.ts';
import { type Caller, customerOf } from '../shared/actor.ts';
import { won } from '../shared/money.ts';
import { found, refuse } from '../shared/refusal.ts';
import { type Item, type Order, type Quote, quote } from './order.ts';

/** The items, or the caller's cart. */
export type Basket = { readonly items: readonly Item[] } | { readonly fromCart: true };

/** A coupon of the caller's, for its discount. */
export interface WithCoupon {
  readonly couponId?: string | undefined;
}

export type PlaceOrder = Basket &
  WithCoupon & {
    /** Places and pays in one commit: both or neither. */
    readonly pay?: 'balance' | undefined;
  };

const itemsOf = async (carts: Ports['carts'], customerId: string, basket: Basket): Promise<readonly Item[]> =>
  'items' in basket ? basket.items : ((await carts.find(customerId))?.items ?? []);

/** Somebody else's coupon is as one that does not exist. */
const ownCoupon = (coupon: Coupon | undefined, customerId: string): Coupon =>
  found(coupon?.customerId === customerId ? coupon : undefined, 'coupon');

/** What it would cost now. Reserves nothing. */
export const quoteOrder =
  ({
    transact,
    products,
    carts,
    coupons,
    policy,
    now,
  }: Pick<Ports, 'transact' | 'products' | 'carts' | 'coupons' | 'policy' | 'now'>) =>
  async ({ actor, once }: Caller, basket: Basket & WithCoupon): Promise<Quote> => {
    const customerId = customerOf(actor);
    const items = await itemsOf(carts, customerId, basket);
    const coupon = basket.couponId === undefined ? null : await coupons.coupon(basket.couponId, customerId);
    const skus = new Map((await products.skus(items.map(({ sku }) => sku))).map((sku) => [sku.sku, sku]));
    return remembering(transact, once, () => {
      const held = basket.couponId === undefined ? null : found(coupon, 'coupon');
      const quoted = quote(items, (sku) => skus.get(sku), held, policy.discountCap);
      // Only to refuse what an order would refuse.
      if (held) useCoupon(held, '', quoted.goodsTotal, now());
      return quoted;
    });
  };

/**
 * Takes the stock of every line, or of none, at the server's prices, which the order keeps. Ordering from the cart empties
 * it, and is refused with `cart_changed` when the cart is no longer what it was when the order was asked for.
 */
export const placeOrder =
  ({ transact, lock, carts, newId, policy }: Pick<Ports, 'transact' | 'lock' | 'carts' | 'newId' | 'policy'>) =>
  async ({ actor, once }: Caller, input: PlaceOrder): Promise<Order> => {
    const customerId = customerOf(actor);
    return lock(`order:create:${customerId}`, async () => {
      const items = await itemsOf(carts, customerId, input);
      const { couponId } = input;
      const scope = {
        coupons: couponId === undefined ? [] : [couponId],
        skus: items.map(({ sku }) => sku),
        carts: 'fromCart' in input ? [customerId] : [],
        accounts: input.pay ? [customerId] : [],
        once,
      };
      return transact(scope, (books) => {
        if ('fromCart' in input) {
          const now = books.get('carts', customerId)?.items ?? [];
          const same =
            now.length === items.length &&
            now.every((item, i) => item.sku === items[i]?.sku && item.quantity === items[i].quantity);
          if (!same) refuse({ code: 'cart_changed' });
          if (now.length > 0) books.put('carts', emptyCart(customerId));
        }
        const coupon = couponId === undefined ? null : ownCoupon(books.get('coupons', couponId), customerId);
        const priced = quote(items, (sku) => books.get('skus', sku), coupon, policy.discountCap);
        for (const { sku, quantity } of items) books.put('skus', take(found(books.get('skus', sku), 'sku'), quantity));
        const order: Order = {
          ...priced,
          id: newId(),
          customerId,
          status: 'pending',
          refundedTotal: won(0),
          couponId: coupon?.id ?? null,
          payment: null,
          createdAt: books.now,
          expiresAt: books.now + policy.orderTtl,
        };
        if (coupon) books.put('coupons', useCoupon(coupon, order.id, order.goodsTotal, books.now));
        emit(books, newId(), 'order.placed', order.id, { orderId: order.id, customerId, total: order.total });
        const placed = input.pay ? payFromBalance(books, order, newId) : order;
        books.create('orders', placed);
        return placed;
      });
    });
  };
