import { randomUUID } from 'node:crypto';
import { memoryClaimQueue } from '../../adapters/memory/claim-queue.ts';
import { memoryGate } from '../../adapters/memory/gate.ts';
import { memoryLock } from '../../adapters/memory/lock.ts';
import { type MemoryStore, memoryStore } from '../../adapters/memory/store.ts';
import { argon2Passwords, calendar, claimId } from '../../adapters/system/system.ts';
import type { ChargePolicy } from '../../core/balance/account.ts';
import type { ProductStatus, ProductView } from '../../core/catalog/product.ts';
import type { Order } from '../../core/order/order.ts';
import type { Lock, Policy, Ports } from '../../core/ports.ts';
import type { Actor, Once } from '../../core/shared/actor.ts';
import { won } from '../../core/shared/money.ts';
import type { Page, PageRequest } from '../../core/shared/page.ts';
import { DomainError } from '../../core/shared/refusal.ts';
import { hours, type Instant, minutes } from '../../core/shared/time.ts';
import { createShop, type Shop } from '../../core/shop.ts';
import type { ShopBooks } from './invariants.ts';

/** What the tests of a shop say first: who there is, what is sold. Works on any shop, whatever it keeps its books in. */
export const buildersFor = (shop: Shop) => ({
  anyone: { subject: 'anonymous', role: 'anyone' } as Actor,
  operator,
  customer: (id: string = randomUUID()): Actor => ({ subject: id, role: 'customer' }),

  /** A product on sale; one SKU (`sku`, `price`, `stock`), or the given variants, of which `sku` is the first. */
  product: async ({
    sku,
    price,
    stock,
    variants,
    ...rest
  }: ProductWish = {}): Promise<ProductView & { readonly sku: string }> => {
    const name = rest.name ?? 'socks';
    const wished = (variants ?? [{ sku, price, stock }]).map((variant) => ({
      sku: variant.sku ?? `SKU-${randomUUID()}`,
      name: variant.name ?? name,
      price: variant.price ?? 1_000,
      stock: variant.stock ?? 10,
    }));
    const view = await shop.catalog.create(
      { actor: operator },
      { name, category: rest.category ?? 'clothes', status: rest.status ?? 'on_sale', variants: wished },
    );
    return { ...view, sku: wished[0]?.sku as string };
  },

  /** The customer, with so much more on the balance: one charge, within the charge policy. */
  charged: async (customer: Actor, amount: number): Promise<Actor> => {
    await shop.balance.charge({ actor: customer }, { amount });
    return customer;
  },

  /** An unpaid order of one SKU. */
  ordered: (customer: Actor, { sku }: { readonly sku: string }, quantity = 1): Promise<Order> =>
    shop.orders.place({ actor: customer }, { items: [{ sku, quantity }] }),
});

const operator: Actor = { subject: 'operator', role: 'operator' };

interface VariantWish {
  readonly sku?: string | undefined;
  readonly name?: string;
  readonly price?: number | undefined;
  readonly stock?: number | undefined;
}
export interface ProductWish extends VariantWish {
  readonly category?: string;
  readonly status?: ProductStatus;
  readonly variants?: readonly VariantWish[];
}

/** A new idempotency key, sent by the actor for the operation. */
export const once = ({ subject }: Actor, changes: Partial<Once> = {}): Once => ({
  subject,
  operation: 'POST /v1/things',
  key: randomUUID(),
  fingerprint: 'what was asked',
  requestId: randomUUID(),
  ...changes,
});

/** The refusal, or what happened in its place. */
export const refusalOf = (asked: Promise<unknown>): Promise<unknown> =>
  asked.then(
    (done) => ({ done }),
    (error) => (error instanceof DomainError ? error.refusal : error),
  );

/** Every item of a list, asked for page by page. */
export const allOf = async <T>(pageAt: (page: PageRequest) => Promise<Page<T>>, limit = 100): Promise<T[]> => {
  const items: T[] = [];
  let cursor: string | undefined;
  do {
    const page: Page<T> = await pageAt({ limit, cursor });
    items.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor);
  return items;
};

/** Keeps nobody waiting: whatever must not happen twice must hold without a lock. */
export const grantingLock: Lock = (_name, work) => work(1);

export const defaultPolicy: Policy = {
  charge: { min: won(1_000), max: won(1_000_000), step: won(1_000), perDay: 3, perMonth: 10 },
  discountCap: 50,
  orderTtl: minutes(10),
  sessionTtl: hours(24 * 30),
};

/** Ids as `Ports.newId` promises them, later ones after earlier ones, and the same in every run. */
export const countedIds = (): Ports['newId'] => {
  let count = 0;
  return () => `00000000-0000-7000-8000-${(++count).toString(16).padStart(12, '0')}`;
};

export interface ShopOptions {
  /** Default: noon of 10 March 2026 in Seoul. */
  readonly at?: Instant;
  readonly policy?: Partial<Omit<Policy, 'charge'>> & { readonly charge?: Partial<ChargePolicy> };
  readonly lock?: Lock;
  /** Ports in place of the store's, e.g. one that lets something happen between a read and the decision. */
  readonly ports?: (store: MemoryStore) => Partial<Ports>;
}

/** A shop in Seoul, new and empty, in memory, with a clock that only the test moves. */
export const openShop = ({
  at = Date.parse('2026-03-10T03:00:00Z'),
  policy = {},
  lock = memoryLock(),
  ports,
}: ShopOptions = {}) => {
  const clock = {
    now: at,
    advance(milliseconds: number) {
      clock.now += milliseconds;
    },
  };
  const store = memoryStore({ now: () => clock.now });
  const touched = { accounts: new Set<string>(), skus: new Set<string>() };
  const replaced = ports?.(store) ?? {};
  const transact = replaced.transact ?? store.transact;
  const shop = createShop({
    ...store,
    lock,
    passwords: argon2Passwords({ memory: 8, passes: 1 }),
    newId: countedIds(),
    claimId,
    gate: memoryGate({ load: store.holders, now: () => clock.now }),
    claimQueue: memoryClaimQueue(),
    now: () => clock.now,
    shopDay: seoul,
    policy: { ...defaultPolicy, ...policy, charge: { ...defaultPolicy.charge, ...policy.charge } },
    ...replaced,
    transact: (scope, decide) => {
      for (const id of scope.accounts ?? []) touched.accounts.add(id);
      for (const sku of scope.skus ?? []) touched.skus.add(sku);
      return transact(scope, decide);
    },
  });
  /** All that the invariants count. */
  const books = async (): Promise<ShopBooks> => ({
    skus: await store.products.skus([...touched.skus]),
    adjustments: [...store.facts.adjustments],
    accounts: (await Promise.all([...touched.accounts].map((id) => store.accounts.find(id)))).filter((known) => known !== null),
    transfers: [...store.facts.transfers],
    orders: await allOf((page) => store.orders.page(null, {}, page)),
  });
  return { shop, store, clock, books, ...buildersFor(shop) };
};

const seoul = calendar('Asia/Seoul');
