import { describe, test } from 'vitest';
import { newUuid } from '../../adapters/system/system.ts';
import type { Account, Transfer } from '../../core/balance/account.ts';
import type { Transact } from '../../core/books.ts';
import type { Product, Sku, StockAdjustment } from '../../core/catalog/product.ts';
import type { Campaign } from '../../core/coupon/campaign.ts';
import type { Coupon } from '../../core/coupon/coupon.ts';
import type { ShopEvent } from '../../core/event/event.ts';
import type { Order } from '../../core/order/order.ts';
import type { ClaimLog, Ports } from '../../core/ports.ts';
import type { Once } from '../../core/shared/actor.ts';
import { won } from '../../core/shared/money.ts';
import { DomainError } from '../../core/shared/refusal.ts';

export type Reads = Pick<Ports, 'customers' | 'products' | 'accounts' | 'carts' | 'orders' | 'coupons'>;

/** All that a store holds, for the invariants. */
export interface Everything {
  readonly skus: readonly Sku[];
  readonly adjustments: readonly StockAdjustment[];
  readonly accounts: readonly Account[];
  readonly transfers: readonly Transfer[];
  readonly orders: readonly Order[];
  readonly events: readonly ShopEvent[];
}

/** A store, new and empty, as two processes see it; both are connected. */
export interface StoreWorld {
  readonly transact: Transact;
  /** Another process's handle on the same data. */
  readonly other: Transact;
  readonly reads: Reads;
  readonly claimLog: ClaimLog & { /** All that was refused until now is kept. */ flush(): Promise<void> };
  /** What a gate loads. */
  readonly holders: (campaignId: string) => Promise<{ readonly quantity: number; readonly customers: readonly string[] } | null>;
  everything(): Promise<Everything>;
  /** Makes what is kept under the key older than answers are kept. */
  expire(once: Once): Promise<void>;
  close(): Promise<void>;
}

export type MakeStoreWorld = () => Promise<StoreWorld>;
/** Guarantee → a check that rejects when it is broken. */
export type Checks = { readonly [guarantee: string]: (world: StoreWorld) => Promise<void> };

/** Runs the checks, each on a world of its own. */
export const runChecks = (name: string, checks: Checks, make: MakeStoreWorld): void => {
  describe(name, () => {
    for (const [guarantee, check] of Object.entries(checks)) {
      test(guarantee, async () => {
        const world = await make();
        try {
          await check(world);
        } finally {
          await world.close();
        }
      });
    }
  });
};

/** The refusal, or what happened in its place. */
export const refusalOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    (done) => ({ done }),
    (error) => (error instanceof DomainError ? error.refusal : error),
  );

/** Starts all workers together, the even ones on the first, the odd ones on the second of two. */
export const atOnce = <H, T>(pair: readonly [H, H], count: number, work: (handle: H, i: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, i) => work(pair[i % 2] as H, i)));

export const newOnce = (changes: Partial<Once> = {}): Once => ({
  subject: newUuid(),
  operation: 'POST /v1/things',
  key: newUuid(),
  fingerprint: 'the same',
  requestId: newUuid(),
  ...changes,
});

export const newProduct = (changes: Partial<Product> = {}): Product => ({
  id: newUuid(),
  name: 'socks',
  category: 'clothes',
  status: 'on_sale',
  lowestPrice: won(1_000),
  createdAt: 1_700_000_000_123,
  ...changes,
});

export const newSku = (product: Product, changes: Partial<Sku> = {}): Sku => ({
  sku: newUuid(),
  productId: product.id,
  productName: product.name,
  productStatus: product.status,
  position: 0,
  name: product.name,
  price: product.lowestPrice,
  stock: 0,
  ...changes,
});

export const newOrder = (changes: Partial<Order> = {}): Order => ({
  id: newUuid(),
  customerId: newUuid(),
  status: 'pending',
  lines: [
    { sku: 'A', productId: newUuid(), name: 'socks', quantity: 3, unitPrice: won(1_000), discount: won(0), amount: won(3_000) },
  ],
  goodsTotal: won(3_000),
  discountTotal: won(0),
  total: won(3_000),
  refundedTotal: won(0),
  couponId: null,
  payment: null,
  createdAt: 1_700_000_000_000,
  expiresAt: 1_700_000_600_000,
  ...changes,
});

export const newCampaign = (changes: Partial<Campaign> = {}): Campaign => ({
  id: newUuid(),
  name: 'drop',
  discount: { kind: 'percent', percent: 10 },
  minOrder: won(0),
  maxDiscount: null,
  quantity: 10,
  issued: 0,
  opensAt: 1_700_000_000_000,
  closesAt: 4_000_000_000_000,
  closedAt: null,
  validDays: 7,
  createdAt: 1_700_000_000_000,
  ...changes,
});

export const newCoupon = (changes: Partial<Coupon> = {}): Coupon => ({
  id: newUuid(),
  campaignId: newUuid(),
  customerId: newUuid(),
  rank: 1,
  discount: { kind: 'percent', percent: 10 },
  minOrder: won(0),
  maxDiscount: null,
  issuedAt: 1_700_000_000_000,
  expiresAt: 4_000_000_000_000,
  orderId: null,
  ...changes,
});

export const newAccount = (changes: Partial<Account> = {}): Account => ({
  customerId: newUuid(),
  balance: won(0),
  charged: { day: '2026-01-31', inDay: 0, inMonth: 0 },
  ...changes,
});

export const newEvent = (changes: Partial<ShopEvent> = {}): ShopEvent => ({
  id: newUuid(),
  type: 'product.changed',
  subject: newUuid(),
  data: { productId: newUuid() },
  occurredAt: 1_700_000_000_000,
  ...changes,
});
