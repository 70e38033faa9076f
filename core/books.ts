import type { Account, Transfer } from './balance/account.ts';
import type { Cart } from './cart/cart.ts';
import type { Product, Sku, StockAdjustment } from './catalog/product.ts';
import type { Campaign } from './coupon/campaign.ts';
import type { Claim } from './coupon/claim.ts';
import type { Coupon } from './coupon/coupon.ts';
import type { Customer, Login, Session } from './customer/customer.ts';
import type { ShopEvent } from './event/event.ts';
import type { Order } from './order/order.ts';
import type { Once } from './shared/actor.ts';
import { DomainError, type Refusal } from './shared/refusal.ts';
import type { Instant } from './shared/time.ts';

/** What can be held exclusively, by kind. */
export interface Records {
  customers: Customer;
  logins: Login;
  sessions: Session;
  carts: Cart;
  campaigns: Campaign;
  claims: Claim;
  coupons: Coupon;
  orders: Order;
  accounts: Account;
  products: Product;
  skus: Sku;
}
export type Kind = keyof Records;

/**
 * The key of each kind. The order of this list is the order in which every adapter locks (then by key), so no two
 * commands can deadlock. The most wanted rows, SKUs, stand last: they are held for the shortest time.
 */
export const keyOf: { readonly [K in Kind]: (record: Records[K]) => string } = {
  customers: (customer) => customer.id,
  logins: (login) => login.email,
  sessions: (session) => session.id,
  carts: (cart) => cart.customerId,
  campaigns: (campaign) => campaign.id,
  claims: (claim) => claim.id,
  coupons: (coupon) => coupon.id,
  orders: (order) => order.id,
  accounts: (account) => account.customerId,
  products: (product) => product.id,
  skus: (sku) => sku.sku,
};
export const kinds = Object.keys(keyOf) as readonly Kind[];

/** What only ever is added: never held, never changed. */
export interface Facts {
  transfers: Transfer;
  adjustments: StockAdjustment;
  events: ShopEvent;
}
export type FactKind = keyof Facts;
export const factKinds: readonly FactKind[] = ['transfers', 'adjustments', 'events'];

/** The records that a command named, held exclusively while its decision runs. */
export interface Books {
  /** The moment of the decision, by the one clock that all processes share (the database's). */
  readonly now: Instant;
  /** The record, or undefined when there is none. Throws when the scope did not name it. */
  get<K extends Kind>(kind: K, key: string): Records[K] | undefined;
  /** Sets a record that the scope named, new or changed. */
  put<K extends Kind>(kind: K, record: Records[K]): void;
  /** Adds a record under a key that was made for it just now: the scope need not name it. */
  create<K extends Kind>(kind: K, record: Records[K]): void;
  append<F extends FactKind>(kind: F, fact: Facts[F]): void;
}

/** The keys of the records that a decision may see, by kind; `once` makes it an idempotent command. */
export type Scope = { readonly [K in Kind]?: readonly string[] } & { readonly once?: Once | undefined };

/**
 * Hold the named records exclusively, decide, commit what changed: all of it or nothing.
 *
 * - `decide` is pure and synchronous. It may run again when the commit failed, always on fresh records.
 * - What it throws, `transact` throws, and nothing is changed.
 * - Resolves only when the change is durable.
 * - With `scope.once`, the result (or the refusal) is kept in the same commit for 24 hours: the same key again gives the
 *   same result without deciding; with another fingerprint the refusal `idempotency_key_reused`. The result must be
 *   plain JSON.
 * - Throws `Unavailable` when the store is away, too busy, or when it cannot be known whether the commit took place.
 */
export type Transact = <T>(scope: Scope, decide: (books: Books) => T) => Promise<T>;

/**
 * Decides what needs no books, and keeps the answer when there is an idempotency key. Its refusal is kept too.
 */
export const remembering = async <T>(transact: Transact, once: Once | undefined, decide: () => T): Promise<T> =>
  once ? transact({ once }, decide) : decide();

/** The answer kept under an idempotency key. */
export interface Remembered {
  readonly once: Once;
  readonly outcome: { readonly done: unknown } | { readonly refused: Refusal };
}

/** How long an idempotency key is kept. */
export const ONCE_HOURS = 24;

export const onceKey = ({ subject, operation, key }: Pick<Once, 'subject' | 'operation' | 'key'>): string =>
  `${subject}\n${operation}\n${key}`;

type Shelves = { [K in Kind]: Map<string, Records[K]> };

/** What an adapter loaded (and holds) for one or many commands. */
export interface Loaded {
  readonly now: Instant;
  readonly records: Shelves;
  readonly remembered: Map<string, Remembered>;
}

/** What it has to write, in one commit. */
export interface Changes {
  readonly records: {
    readonly [K in Kind]: {
      readonly created: readonly Records[K][];
      readonly updated: readonly { readonly before: Records[K]; readonly after: Records[K] }[];
    };
  };
  readonly facts: { readonly [F in FactKind]: readonly Facts[F][] };
  readonly remembered: readonly Remembered[];
  readonly none: boolean;
}

const perKind = <T>(make: (kind: Kind) => T): { [K in Kind]: T } =>
  Object.fromEntries(kinds.map((kind) => [kind, make(kind)])) as { [K in Kind]: T };

export const emptyShelves = (): Shelves => perKind(() => new Map()) as Shelves;

/**
 * Decides commands one after the other on what was loaded for all of them, each on what those before it left.
 * A command that throws drops only its own changes. Adapters of `Transact` load, call this, and write `changes()`.
 */
export const openBatch = ({ now, records, remembered }: Loaded) => {
  /** Key → the record as it was loaded. */
  const changed = perKind(() => new Map<string, unknown>());
  const facts = { transfers: [] as Transfer[], adjustments: [] as StockAdjustment[], events: [] as ShopEvent[] };
  const toRemember: Remembered[] = [];

  const remember = (once: Once, outcome: Remembered['outcome']) => {
    const entry = { once, outcome };
    remembered.set(onceKey(once), entry);
    toRemember.push(entry);
  };

  const run = <T>(scope: Scope, decide: (books: Books) => T): T => {
    const undo: (() => void)[] = [];
    const lengths = factKinds.map((kind) => facts[kind].length);
    const mustBeNamed = (kind: Kind, key: string) => {
      if (!scope[kind]?.includes(key)) throw new Error(`the scope does not name ${kind} ${key}`);
    };
    const set = <K extends Kind>(kind: K, key: string, record: Records[K]) => {
      const shelf = records[kind];
      const before = shelf.get(key);
      const first = !changed[kind].has(key);
      if (first) changed[kind].set(key, before);
      shelf.set(key, record);
      undo.push(() => {
        if (first) changed[kind].delete(key);
        if (before === undefined) shelf.delete(key);
        else shelf.set(key, before);
      });
    };
    const books: Books = {
      now,
      get(kind, key) {
        mustBeNamed(kind, key);
        return records[kind].get(key);
      },
      put(kind, record) {
        const key = keyOf[kind](record);
        mustBeNamed(kind, key);
        set(kind, key, record);
      },
      create(kind, record) {
        const key = keyOf[kind](record);
        if (records[kind].has(key)) throw new Error(`${kind} ${key} is not new`);
        set(kind, key, record);
      },
      append(kind, fact) {
        (facts[kind] as unknown[]).push(fact);
      },
    };
    try {
      return decide(books);
    } catch (error) {
      for (const revert of undo.reverse()) revert();
      factKinds.forEach((kind, i) => {
        facts[kind].length = lengths[i] as number;
      });
      throw error;
    }
  };

  return {
    /** The command's result. Throws what it threw, or the refusal that is kept under its idempotency key. */
    decide<T>(scope: Scope, decide: (books: Books) => T): T {
      const { once } = scope;
      if (!once) return run(scope, decide);
      const known = remembered.get(onceKey(once));
      if (known) {
        if (known.once.fingerprint !== once.fingerprint) throw new DomainError({ code: 'idempotency_key_reused' });
        if ('refused' in known.outcome) throw new DomainError(known.outcome.refused, known.once.requestId);
        return known.outcome.done as T;
      }
      try {
        const done = run(scope, decide);
        remember(once, { done: done ?? null });
        return done;
      } catch (error) {
        if (error instanceof DomainError) remember(once, { refused: error.refusal });
        throw error;
      }
    },

    changes(): Changes {
      const split = perKind((kind) => {
        const created: unknown[] = [];
        const updated: unknown[] = [];
        for (const [key, before] of changed[kind]) {
          const after = records[kind].get(key);
          if (before === undefined) created.push(after);
          else updated.push({ before, after });
        }
        return { created, updated };
      }) as unknown as Changes['records'];
      const none =
        toRemember.length === 0 &&
        kinds.every((kind) => changed[kind].size === 0) &&
        factKinds.every((kind) => facts[kind].length === 0);
      return { records: split, facts, remembered: toRemember, none };
    },
  };
};
