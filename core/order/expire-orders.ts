import { changeStock } from '../catalog/product.ts';
import { releaseCoupon } from '../coupon/coupon.ts';
import { emit } from '../event/event.ts';
import type { Ports } from '../ports.ts';
import { found } from '../shared/refusal.ts';
import { expired, type Order } from './order.ts';

/** Orders that one round takes up at the most. */
const ROUND = 500;

/**
 * Expires pending orders whose time is over: stock and coupon go back, once. Any number of workers may do it at the same time
 * and be killed at any moment: each order is decided on the books, and one that was paid or expired meanwhile is left alone.
 * Gives how many were due; as many as a round takes means that there may be more.
 */
export const expireOrders = ({ transact, orders, newId }: Pick<Ports, 'transact' | 'orders' | 'newId'>) => {
  const expire = ({ id, lines, couponId }: Order): Promise<void> =>
    // Lines and coupon of an order never change, so what was read names all that goes back.
    transact({ orders: [id], skus: lines.map(({ sku }) => sku), coupons: couponId === null ? [] : [couponId] }, (books) => {
      const order = expired(found(books.get('orders', id), 'order'), books.now);
      if (!order) return;
      books.put('orders', order);
      for (const { sku, quantity } of lines) books.put('skus', changeStock(found(books.get('skus', sku), 'sku'), quantity));
      if (couponId !== null) books.put('coupons', releaseCoupon(found(books.get('coupons', couponId), 'coupon')));
      emit(books, newId(), 'order.expired', id, { orderId: id, customerId: order.customerId });
    });

  return async (): Promise<{ readonly due: number; readonly more: boolean }> => {
    const due = await orders.due(ROUND);
    const results = await Promise.allSettled(due.map(expire));
    // One that cannot be expired does not hold the others up; when none can, something else is wrong.
    const failed = results.filter((result) => result.status === 'rejected');
    if (failed[0] && failed.length === due.length) throw failed[0].reason;
    return { due: due.length, more: due.length === ROUND };
  };
};
