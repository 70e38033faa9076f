import type { Money } from '../shared/money.ts';
import type { Instant } from '../shared/time.ts';

/** Immutable: that an order was paid. At most one an order. */
export interface Payment {
  readonly id: string;
  readonly orderId: string;
  readonly customerId: string;
  readonly method: 'balance';
  readonly amount: Money;
  readonly paidAt: Instant;
}
