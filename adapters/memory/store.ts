import { accountName, type BalanceEntry, entryOf, type Transfer } from '../../core/balance/account.ts';
import { emptyShelves, ONCE_HOURS, onceKey, openBatch, type Remembered, type Transact } from '../../core/books.ts';
import { type ProductView, type StockAdjustment, viewOf } from '../../core/catalog/product.ts';
import { decided, refusedClaim } from '../../core/coupon/claim.ts';
import { couponStatus } from '../../core/coupon/coupon.ts';
import type { ShopEvent } from '../../core/event/event.ts';
import type { Order } from '../../core/order/order.ts';
import type { Accounts, Carts, ClaimLog, Coupons, Customers, Orders, ProductFilter, Products } from '../../core/ports.ts';
import { keyOfCursor, type Page, pageOf } from '../../core/shared/page.ts';
import { hours, type Instant } from '../../core/shared/time.ts';

export interface MemoryStore {
  readonly transact: Transact;
  readonly customers: Customers;
  readonly products: Products;
  readonly accounts: Accounts;
  readonly carts: Carts;
  readonly orders: Orders;
  readonly coupons: Coupons;
  readonly claimLog: ClaimLog;
  /** What a gate has to know of a campaign: how many there are, and who has one. */
  readonly holders: (campaignId: string) => Promise<{ readonly quantity: number; readonly customers: readonly string[] } | null>;
  /** What was only ever added, for tests to look at. */
  readonly facts: { readonly transfers: Transfer[]; readonly adjustments: StockAdjustment[]; readonly events: ShopEvent[] };
}

/**
 * The whole shop in memory. A decision is synchronous and this is one process, so whatever decides holds everything;
 * nothing outlives the process.
 */
export const memoryStore = ({ now }: { readonly now: () => Instant }): MemoryStore => {
  const records = emptyShelves();
  const facts: MemoryStore['facts'] = { transfers: [], adjustments: [], events: [] };
  const remembered = new Map<string, Remembered>();
  const rememberedAt = new Map<string, Instant>();

  const transact: Transact = async (scope, decide) => {
    const at = now();
    for (const [key, since] of rememberedAt) {
      if (since > at - hours(ONCE_HOURS)) break; // oldest first
      rememberedAt.delete(key);
      remembered.delete(key);
    }
    const batch = openBatch({ now: at, records, remembered });
    try {
      return batch.decide(scope, decide);
    } finally {
      const changes = batch.changes();
      facts.transfers.push(...changes.facts.transfers);
      facts.adjustments.push(...changes.facts.adjustments);
      facts.events.push(...changes.facts.events);
      for (const { once } of changes.remembered) rememberedAt.set(onceKey(once), at);
    }
  };

  const view = (productId: string): ProductView | null => {
    const product = records.products.get(productId);
    return product
      ? viewOf(
          product,
          [...records.skus.values()].filter((sku) => sku.productId === productId),
        )
      : null;
  };

  type ProductKey = readonly [string | number, string];
  const productOrder: {
    [S in ProductFilter['sort']]: {
      key: (id: string) => ProductKey;
      shape: readonly ['string' | 'number', 'uuid'];
      descending: boolean;
    };
  } = {
    newest: { key: (id) => ['', id], shape: ['string', 'uuid'], descending: true },
    price_asc: { key: (id) => [records.products.get(id)?.lowestPrice ?? 0, id], shape: ['number', 'uuid'], descending: false },
    price_desc: { key: (id) => [records.products.get(id)?.lowestPrice ?? 0, id], shape: ['number', 'uuid'], descending: true },
    name: { key: (id) => [records.products.get(id)?.name ?? '', id], shape: ['string', 'uuid'], descending: false },
  };
  const compare = (a: ProductKey, b: ProductKey): number =>
    a[0] === b[0] ? (a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : 0) : a[0] < b[0] ? -1 : 1;

  /** Newest first by id: ids are UUIDs of version 7, so later ones sort after earlier ones. */
  const newestFirst = <T extends { readonly id: string }>(
    all: Iterable<T>,
    limit: number,
    cursor: string | undefined,
  ): Page<T> => {
    const after = keyOfCursor(cursor, ['uuid']);
    const rows = [...all]
      .filter(({ id }) => !after || id < after[0])
      .sort((a, b) => (a.id < b.id ? 1 : -1))
      .slice(0, limit + 1);
    return pageOf(rows, limit, ({ id }) => [id]);
  };

  const couponsOf = (campaignId: string) => [...records.coupons.values()].filter((coupon) => coupon.campaignId === campaignId);

  return {
    transact,
    facts,
    coupons: {
      campaign: async (id) => records.campaigns.get(id) ?? null,
      campaigns: async ({ limit, cursor }) => newestFirst(records.campaigns.values(), limit, cursor),
      ranking: async (campaignId, limit) =>
        couponsOf(campaignId)
          .flatMap(({ rank, customerId, issuedAt }) => {
            const customer = records.customers.get(customerId);
            return customer ? [{ rank, name: customer.name, issuedAt }] : [];
          })
          .sort((a, b) => a.rank - b.rank)
          .slice(0, limit),
      held: async (customerId, { status, now: at }, { limit, cursor }) => {
        const own = [...records.coupons.values()].filter(
          (coupon) => coupon.customerId === customerId && (status === undefined || couponStatus(coupon, at) === status),
        );
        return newestFirst(own, limit, cursor);
      },
      coupon: async (id, owner) => {
        const coupon = records.coupons.get(id);
        return coupon?.customerId === owner ? coupon : null;
      },
      claim: async (id, owner) => {
        const claim = records.claims.get(id);
        if (claim?.customerId !== owner) return null;
        return { claim, coupon: claim.couponId === null ? null : (records.coupons.get(claim.couponId) ?? null) };
      },
    },
    claimLog: {
      refused: ({ reason, at, ...claim }) => {
        const known = records.claims.get(claim.id);
        const record = decided(claim, known, at);
        const counted = known?.decision === 'issued' ? { ...known, attempts: record.attempts } : refusedClaim(record, reason);
        records.claims.set(claim.id, counted);
      },
    },
    holders: async (campaignId) => {
      const campaign = records.campaigns.get(campaignId);
      return campaign
        ? { quantity: campaign.quantity, customers: couponsOf(campaignId).map(({ customerId }) => customerId) }
        : null;
    },
    customers: {
      find: async (id) => records.customers.get(id) ?? null,
      login: async (email) => records.logins.get(email) ?? null,
      session: async (id) => records.sessions.get(id) ?? null,
    },
    products: {
      find: async (id) => view(id),
      skus: async (codes) => codes.flatMap((code) => records.skus.get(code) ?? []),
      page: async ({ category, search, sort, status }, { limit, cursor }) => {
        const { key, shape, descending } = productOrder[sort];
        const after = keyOfCursor(cursor, shape, sort) as ProductKey | null;
        const rows = [...records.products.values()]
          .filter((product) => category === undefined || product.category === category)
          .filter((product) => status === undefined || product.status === status)
          .filter((product) => search === undefined || product.name.toLowerCase().includes(search.toLowerCase()))
          .filter(({ id }) => !after || (descending ? compare(key(id), after) < 0 : compare(key(id), after) > 0))
          .sort((a, b) => (descending ? compare(key(b.id), key(a.id)) : compare(key(a.id), key(b.id))))
          .slice(0, limit + 1)
          .map(({ id }) => view(id) as ProductView);
        return pageOf(rows, limit, ({ id }) => key(id), sort);
      },
    },
    accounts: {
      find: async (customerId) => records.accounts.get(customerId) ?? null,
      entries: async (customerId, { limit, cursor }) => {
        const name = accountName(customerId);
        const own = facts.transfers.filter(({ from, to }) => from === name || to === name);
        return newestFirst<BalanceEntry>(
          own.map((transfer) => entryOf(transfer, customerId)),
          limit,
          cursor,
        );
      },
    },
    carts: {
      find: async (customerId) => records.carts.get(customerId) ?? null,
    },
    orders: {
      find: async (id, owner) => {
        const order = records.orders.get(id);
        return order && (owner === null || order.customerId === owner) ? order : null;
      },
      page: async (owner, { status }, { limit, cursor }) => {
        const own = [...records.orders.values()].filter(
          (order) => (owner === null || order.customerId === owner) && (status === undefined || order.status === status),
        );
        return newestFirst<Order>(own, limit, cursor);
      },
      due: async (limit) =>
        [...records.orders.values()]
          .filter(({ status, expiresAt }) => status === 'pending' && expiresAt <= now())
          .sort((a, b) => a.expiresAt - b.expiresAt)
          .slice(0, limit),
      payment: async (id, owner) => {
        const order = [...records.orders.values()].find(({ payment }) => payment?.id === id);
        return order && (owner === null || order.customerId === owner) ? order.payment : null;
      },
    },
  };
};
