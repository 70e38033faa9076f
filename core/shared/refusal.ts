import type { Money } from './money.ts';
import type { Instant } from './time.ts';

/**
 * Every way in which a rule says no. Closed: http maps each code to a status, so a new one does not compile without it.
 * A refusal is an answer, not a fault: nothing was changed, and asking the same again without a change gives the same.
 */
export type Refusal =
  | {
      readonly code: 'not_found';
      readonly what: 'customer' | 'product' | 'sku' | 'order' | 'payment' | 'cart_item' | 'campaign' | 'claim' | 'coupon';
    }
  | { readonly code: 'forbidden' }
  | { readonly code: 'email_taken' }
  | { readonly code: 'invalid_credentials' }
  | { readonly code: 'session_ended' }
  | { readonly code: 'invalid_cursor' }
  | { readonly code: 'sku_taken'; readonly sku: string }
  | { readonly code: 'duplicate_sku'; readonly sku: string }
  | { readonly code: 'not_on_sale'; readonly sku: string }
  | { readonly code: 'insufficient_stock'; readonly sku: string; readonly requested: number; readonly available: number }
  | { readonly code: 'stock_limit'; readonly sku: string; readonly max: number }
  | { readonly code: 'invalid_charge_amount'; readonly min: Money; readonly max: Money; readonly step: Money }
  | { readonly code: 'charge_limit_reached'; readonly per: 'day' | 'month'; readonly limit: number }
  | { readonly code: 'insufficient_balance'; readonly needed: Money; readonly available: Money }
  | { readonly code: 'no_items' }
  | { readonly code: 'too_many_items'; readonly max: number }
  | { readonly code: 'invalid_quantity'; readonly sku: string; readonly max: number }
  | { readonly code: 'invalid_price'; readonly sku: string }
  | { readonly code: 'invalid_delta'; readonly max: number }
  | { readonly code: 'no_variants' }
  | { readonly code: 'cart_full'; readonly max: number }
  | { readonly code: 'cart_changed' }
  | { readonly code: 'order_not_payable'; readonly status: string }
  | { readonly code: 'order_expired' }
  | { readonly code: 'invalid_campaign'; readonly reason: 'window' | 'discount' }
  | { readonly code: 'not_open'; readonly opensAt: Instant }
  | { readonly code: 'closed' }
  | { readonly code: 'sold_out' }
  | { readonly code: 'already_claimed' }
  | { readonly code: 'coupon_used' }
  | { readonly code: 'coupon_expired' }
  | { readonly code: 'coupon_min_order'; readonly minOrder: Money; readonly goodsTotal: Money }
  | { readonly code: 'busy' }
  | { readonly code: 'idempotency_key_reused' };

/** Carries a refusal out of a decision. Thrown inside `transact` it is also the rollback: that command changes nothing. */
export class DomainError extends Error {
  readonly refusal: Refusal;
  /** Set when the refusal was decided earlier, for the same idempotency key: the request that it was decided for. */
  readonly decidedFor: string | undefined;

  constructor(refusal: Refusal, decidedFor?: string) {
    // A refusal is an everyday answer, and its code says all: without a stack trace a refused claim costs 4 % less.
    const v8 = Error as { stackTraceLimit?: number };
    const { stackTraceLimit } = v8;
    v8.stackTraceLimit = 0;
    super(refusal.code);
    v8.stackTraceLimit = stackTraceLimit as number;
    this.name = 'DomainError';
    this.refusal = refusal;
    this.decidedFor = decidedFor;
  }
}

export const refuse = (refusal: Refusal): never => {
  throw new DomainError(refusal);
};

/** The record, or the refusal that it does not exist. */
export const found = <T>(record: T | null | undefined, what: Extract<Refusal, { code: 'not_found' }>['what']): T =>
  record ?? refuse({ code: 'not_found', what });

/**
 * A server that the shop needs is away or too slow: nobody's rule said no, asking again later may succeed.
 * `outcome: 'unknown'` when the command may have been committed; the same idempotency key resolves it.
 */
export class Unavailable extends Error {
  readonly outcome: 'nothing_changed' | 'unknown';

  constructor(message: string, outcome: 'nothing_changed' | 'unknown', cause?: unknown) {
    super(message, { cause });
    this.name = 'Unavailable';
    this.outcome = outcome;
  }
}
