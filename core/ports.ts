import type { Account, BalanceEntry, ChargePolicy } from './balance/account.ts';
import type { Transact } from './books.ts';
import type { Cart } from './cart/cart.ts';
import type { ProductStatus, ProductView, Sku } from './catalog/product.ts';
import type { Campaign } from './coupon/campaign.ts';
import type { Claim, ClaimRefusal, QueuedClaim } from './coupon/claim.ts';
import type { Coupon, CouponStatus } from './coupon/coupon.ts';
import type { Customer, Login, Session } from './customer/customer.ts';
import type { Order, OrderStatus } from './order/order.ts';
import type { Payment } from './payment/payment.ts';
import type { Page, PageRequest } from './shared/page.ts';
import type { Day, Instant } from './shared/time.ts';

/**
 * Runs `work` alone among all work under the same name, in every process, and gives its result. Waits for its turn;
 * refuses with `busy` when that takes too long.
 *
 * It thins a crowd and keeps no truth: a lease may run out while work goes on, and when the lock's server is away the
 * work runs at once. Whatever must not happen twice is decided by `transact`. `fence` rises with every grant of a name.
 */
export type Lock = <T>(name: string, work: (fence: number) => Promise<T>) => Promise<T>;

/** Memory-hard hashing of passwords. */
export interface Passwords {
  hash(password: string): Promise<string>;
  /** Takes as long for `null` (no such login) as for a wrong password. */
  verify(password: string, hash: string | null): Promise<boolean>;
}

/** Reads decide nothing. Each sees what was committed before it was asked. */
export interface Customers {
  find(id: string): Promise<Customer | null>;
  login(email: string): Promise<Login | null>;
  session(id: string): Promise<Session | null>;
}

export interface ProductFilter {
  readonly category?: string | undefined;
  /** Part of the name, in any case. */
  readonly search?: string | undefined;
  readonly sort: 'newest' | 'price_asc' | 'price_desc' | 'name';
  readonly status?: ProductStatus | undefined;
}

export interface Products {
  find(id: string): Promise<ProductView | null>;
  page(filter: ProductFilter, page: PageRequest): Promise<Page<ProductView>>;
  /** Those that exist, in any order. */
  skus(codes: readonly string[]): Promise<readonly Sku[]>;
}

export interface Accounts {
  find(customerId: string): Promise<Account | null>;
  /** The ledger, newest first. */
  entries(customerId: string, page: PageRequest): Promise<Page<BalanceEntry>>;
}

export interface Carts {
  find(customerId: string): Promise<Cart | null>;
}

/** `owner` is part of the query: a customer id, or null for an operator, who sees all. */
export interface Orders {
  find(id: string, owner: string | null): Promise<Order | null>;
  /** Newest first. */
  page(owner: string | null, filter: { readonly status?: OrderStatus | undefined }, page: PageRequest): Promise<Page<Order>>;
  payment(id: string, owner: string | null): Promise<Payment | null>;
  /** Pending orders whose time is over, longest overdue first; by the clock of decisions. */
  due(limit: number): Promise<readonly Order[]>;
}

/** Campaigns, coupons and the records of claims. */
export interface Coupons {
  campaign(id: string): Promise<Campaign | null>;
  /** Newest first. */
  campaigns(page: PageRequest): Promise<Page<Campaign>>;
  /** Those who were first, in rank order. */
  ranking(campaignId: string, limit: number): Promise<readonly RankedClaim[]>;
  /** A customer's coupons, newest first. `now` tells expired ones. */
  held(
    customerId: string,
    filter: { readonly status?: CouponStatus | undefined; readonly now: Instant },
    page: PageRequest,
  ): Promise<Page<Coupon>>;
  coupon(id: string, owner: string): Promise<Coupon | null>;
  /** A decided claim, with its coupon when it was issued. */
  claim(id: string, owner: string): Promise<{ readonly claim: Claim; readonly coupon: Coupon | null } | null>;
}

export interface RankedClaim {
  readonly rank: number;
  readonly name: string;
  readonly issuedAt: Instant;
}

/**
 * Stands before a campaign and thins the crowd; Postgres decides. It says no only to what can never change any more, so a
 * gate that lost its memory, or is away, lets more through and is never wrong.
 */
export interface Gate {
  /**
   * One step for the duplicate check, the stock, the sequence and a dated reservation. `refused` is final.
   * `sequence` rises with each reservation of a campaign; null when the claim passes without one.
   */
  admit(
    campaignId: string,
    customerId: string,
  ): Promise<{ readonly refused: 'sold_out' | 'already_claimed' } | { readonly sequence: number | null }>;
  /** What the decision was: `issued` makes the reservation final, `returned` gives it back. Never throws, nobody waits for it. */
  settle(campaignId: string, customerId: string, outcome: 'issued' | 'returned'): void;
}

/** Keeps the record of refused claims; written soon after the answer, in batches, so that saying no costs nothing. */
export interface ClaimLog {
  refused(claim: QueuedClaim & { readonly reason: ClaimRefusal; readonly at: Instant }): void;
}

/** Claims that wait for their decision, in the order in which they came, a queue for each campaign. */
export interface ClaimQueue {
  /** Puts a claim at the end; one that waits already keeps its place. Gives its position, 1 = next. */
  add(claim: QueuedClaim): Promise<number>;
  /** Null when it does not wait (any more): it was decided, never came, or the queue was lost. A position never grows. */
  find(id: string): Promise<(QueuedClaim & { readonly position: number }) | null>;
  /** How many wait. */
  size(campaignId: string): Promise<number>;
  /**
   * Hands out what waits, in order and in batches, until stopped. A claim leaves the queue when `decide` fulfils for it; when
   * it rejects, or the process dies, it is handed out again, to whoever works; after 10 times it is parked.
   */
  work(decide: (claim: QueuedClaim) => Promise<void>): { stop(): Promise<void> };
}

export interface Policy {
  readonly charge: ChargePolicy;
  /** The most that a coupon takes off, in percent of an order's goods total. */
  readonly discountCap: number;
  /** Milliseconds until an unpaid order expires. */
  readonly orderTtl: number;
  /** Milliseconds until a log-in can no longer be prolonged. */
  readonly sessionTtl: number;
}

/** All that the core asks of the world. */
export interface Ports {
  readonly transact: Transact;
  readonly lock: Lock;
  readonly passwords: Passwords;
  readonly customers: Customers;
  readonly products: Products;
  readonly accounts: Accounts;
  readonly carts: Carts;
  readonly orders: Orders;
  readonly coupons: Coupons;
  readonly gate: Gate;
  readonly claimLog: ClaimLog;
  readonly claimQueue: ClaimQueue;
  /** The one claim of a customer on a campaign: always the same UUID for the same two. */
  readonly claimId: (campaignId: string, customerId: string) => string;
  /** The process's clock, for what decides nothing; a decision uses `books.now`. */
  readonly now: () => Instant;
  /** A new UUID, version 7: later ones sort after earlier ones. */
  readonly newId: () => string;
  /** The calendar day in the shop's time zone. */
  readonly shopDay: (at: Instant) => Day;
  readonly policy: Policy;
}
