import type { Account, BalanceEntry, ChargePolicy } from './balance/account.ts';
import type { Transact } from './books.ts';
import type { Cart } from './cart/cart.ts';
import type { ProductStatus, ProductView, Sku } from './catalog/product.ts';
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
}

export interface Policy {
  readonly charge: ChargePolicy;
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
  /** A new UUID, version 7: later ones sort after earlier ones. */
  readonly newId: () => string;
  /** The calendar day in the shop's time zone. */
  readonly shopDay: (at: Instant) => Day;
  readonly policy: Policy;
}
