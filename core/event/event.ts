import type { Books } from '../books.ts';
import type { Instant } from '../shared/time.ts';

/** What happened, for others to react to; written in the commit that made it happen, delivered later and at least once. */
export interface ShopEvent {
  readonly id: string;
  readonly type:
    | 'customer.registered'
    | 'product.created'
    | 'product.changed'
    | 'stock.adjusted'
    | 'balance.charged'
    | 'campaign.created'
    | 'campaign.closed'
    | 'coupon.issued'
    | 'order.placed'
    | 'order.paid'
    | 'order.expired';
  /** Events of one subject (an order, a product, …) are delivered in the order of their commits. */
  readonly subject: string;
  readonly data: { readonly [field: string]: unknown };
  readonly occurredAt: Instant;
}

/** Tells what the decision made happen; the event commits with it. */
export const emit = (books: Books, id: string, type: ShopEvent['type'], subject: string, data: ShopEvent['data']): void =>
  books.append('events', { id, type, subject, data, occurredAt: books.now });
