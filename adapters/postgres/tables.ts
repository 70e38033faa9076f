import type { Account, Transfer } from '../../core/balance/account.ts';
import type { FactKind, Facts, Kind, Records, Remembered } from '../../core/books.ts';
import type { Cart } from '../../core/cart/cart.ts';
import type { Product, Sku, StockAdjustment } from '../../core/catalog/product.ts';
import type { Campaign } from '../../core/coupon/campaign.ts';
import type { Claim } from '../../core/coupon/claim.ts';
import type { Coupon } from '../../core/coupon/coupon.ts';
import type { Customer, Login, Session } from '../../core/customer/customer.ts';
import type { ShopEvent } from '../../core/event/event.ts';
import type { Order, OrderLine } from '../../core/order/order.ts';
import type { Instant } from '../../core/shared/time.ts';

type SqlType = 'text' | 'uuid' | 'bigint' | 'integer' | 'boolean' | 'timestamptz' | 'jsonb' | 'json';

interface Column<R> {
  readonly name: string;
  readonly type: SqlType;
  readonly value: (record: R) => unknown;
  /** A record's update writes it too. */
  readonly changes: boolean;
}

/** How records of one kind lie in a table. */
export interface Table<R> {
  readonly name: string;
  readonly columns: readonly Column<R>[];
}

/** A table whose records can be held. */
export interface KeyedTable<R> extends Table<R> {
  readonly key: Column<R>;
  /** What to read, in `from`; by default the columns of the table itself. */
  readonly select?: string;
  readonly record: (row: Row) => R;
}

// biome-ignore lint/suspicious/noExplicitAny: a row as pg gives it; each table's `record` knows its columns.
type Row = any;

const column =
  (changes: boolean) =>
  <R>(name: string, type: SqlType, value: (record: R) => unknown): Column<R> => ({ name, type, value, changes });
const fixed = column(false);
const changing = column(true);

const time = (at: Instant | null | undefined): string | null => (at == null ? null : new Date(at).toISOString());

const keyed = <R>(name: string, columns: readonly Column<R>[], record: (row: Row) => R, select?: string): KeyedTable<R> => ({
  name,
  columns,
  key: columns[0] as Column<R>,
  record,
  ...(select ? { select } : {}),
});

const lineJson = `json_build_object('sku', sku, 'productId', product_id, 'name', name, 'quantity', quantity,
  'unitPrice', unit_price, 'discount', discount, 'amount', amount)`;

export const orderOf = (row: Row): Order => ({
  id: row.id,
  customerId: row.customer_id,
  status: row.status,
  lines: row.lines,
  goodsTotal: row.goods_total,
  discountTotal: row.discount_total,
  total: row.total,
  refundedTotal: row.refunded_total,
  couponId: row.coupon_id,
  payment: row.payment_id && {
    id: row.payment_id,
    orderId: row.id,
    customerId: row.customer_id,
    method: row.payment_method,
    amount: row.paid_amount,
    paidAt: row.paid_at,
  },
  createdAt: row.created_at,
  expiresAt: row.expires_at,
});

export const skuOf = (row: Row): Sku => ({
  sku: row.sku,
  productId: row.product_id,
  productName: row.product_name,
  productStatus: row.product_status,
  position: row.position,
  name: row.name,
  price: row.price,
  stock: row.stock,
});

export const accountOf = (row: Row): Account => ({
  customerId: row.customer_id,
  balance: row.balance,
  charged: { day: row.charged_day, inDay: row.charged_in_day, inMonth: row.charged_in_month },
});

export const sessionOf = (row: Row): Session => ({
  id: row.id,
  customerId: row.customer_id,
  generation: row.generation,
  ended: row.ended,
  issuedAt: row.issued_at,
  expiresAt: row.expires_at,
});

export const customerOf = (row: Row): Customer => ({ id: row.id, email: row.email, name: row.name, createdAt: row.created_at });
export const loginOf = (row: Row): Login => ({ email: row.email, customerId: row.customer_id, passwordHash: row.password_hash });

export const campaignOf = (row: Row): Campaign => ({
  id: row.id,
  name: row.name,
  discount: row.discount,
  minOrder: row.min_order,
  maxDiscount: row.max_discount,
  quantity: row.quantity,
  issued: row.issued,
  opensAt: row.opens_at,
  closesAt: row.closes_at,
  closedAt: row.closed_at,
  validDays: row.valid_days,
  createdAt: row.created_at,
});

export const couponOf = (row: Row): Coupon => ({
  id: row.id,
  campaignId: row.campaign_id,
  customerId: row.customer_id,
  rank: row.rank,
  discount: row.discount,
  minOrder: row.min_order,
  maxDiscount: row.max_discount,
  issuedAt: row.issued_at,
  expiresAt: row.expires_at,
  orderId: row.order_id,
});

export const claimOf = (row: Row): Claim => ({
  id: row.id,
  campaignId: row.campaign_id,
  customerId: row.customer_id,
  decision: row.decision,
  reason: row.reason,
  rank: row.rank,
  couponId: row.coupon_id,
  attempts: row.attempts,
  firstAskedAt: row.first_asked_at,
  decidedAt: row.decided_at,
});

const orderColumns: readonly Column<Order>[] = [
  fixed('id', 'uuid', (r) => r.id),
  fixed('customer_id', 'text', (r) => r.customerId),
  changing('status', 'text', (r) => r.status),
  fixed('goods_total', 'bigint', (r) => r.goodsTotal),
  fixed('discount_total', 'bigint', (r) => r.discountTotal),
  fixed('total', 'bigint', (r) => r.total),
  changing('refunded_total', 'bigint', (r) => r.refundedTotal),
  fixed('coupon_id', 'uuid', (r) => r.couponId),
  changing('payment_id', 'uuid', (r) => r.payment?.id),
  changing('payment_method', 'text', (r) => r.payment?.method),
  changing('paid_amount', 'bigint', (r) => r.payment?.amount),
  changing('paid_at', 'timestamptz', (r) => time(r.payment?.paidAt)),
  fixed('created_at', 'timestamptz', (r) => time(r.createdAt)),
  fixed('expires_at', 'timestamptz', (r) => time(r.expiresAt)),
];

/** An order's row with its lines, for `orderOf`. The lines never change, so they may be older than the row's lock. */
export const orderSelect = `${orderColumns.map(({ name }) => `orders.${name}`).join(', ')},
  (select json_agg(${lineJson} order by position) from order_lines where order_id = orders.id) as lines`;

export const recordTables: { readonly [K in Kind]: KeyedTable<Records[K]> } = {
  customers: keyed<Customer>(
    'customers',
    [
      fixed('id', 'text', (r) => r.id),
      changing('email', 'text', (r) => r.email),
      changing('name', 'text', (r) => r.name),
      fixed('created_at', 'timestamptz', (r) => time(r.createdAt)),
    ],
    customerOf,
  ),
  logins: keyed<Login>(
    'logins',
    [
      fixed('email', 'text', (r) => r.email),
      fixed('customer_id', 'text', (r) => r.customerId),
      changing('password_hash', 'text', (r) => r.passwordHash),
    ],
    loginOf,
  ),
  sessions: keyed<Session>(
    'sessions',
    [
      fixed('id', 'uuid', (r) => r.id),
      fixed('customer_id', 'text', (r) => r.customerId),
      changing('generation', 'integer', (r) => r.generation),
      changing('ended', 'boolean', (r) => r.ended),
      changing('issued_at', 'timestamptz', (r) => time(r.issuedAt)),
      changing('expires_at', 'timestamptz', (r) => time(r.expiresAt)),
    ],
    sessionOf,
  ),
  carts: keyed<Cart>(
    'carts',
    [fixed('customer_id', 'text', (r) => r.customerId), changing('items', 'jsonb', (r) => JSON.stringify(r.items))],
    (row) => ({ customerId: row.customer_id, items: row.items }),
  ),
  campaigns: keyed<Campaign>(
    'campaigns',
    [
      fixed('id', 'uuid', (r) => r.id),
      fixed('name', 'text', (r) => r.name),
      fixed('discount', 'jsonb', (r) => JSON.stringify(r.discount)),
      fixed('min_order', 'bigint', (r) => r.minOrder),
      fixed('max_discount', 'bigint', (r) => r.maxDiscount),
      fixed('quantity', 'integer', (r) => r.quantity),
      changing('issued', 'integer', (r) => r.issued),
      fixed('opens_at', 'timestamptz', (r) => time(r.opensAt)),
      fixed('closes_at', 'timestamptz', (r) => time(r.closesAt)),
      changing('closed_at', 'timestamptz', (r) => time(r.closedAt)),
      fixed('valid_days', 'integer', (r) => r.validDays),
      fixed('created_at', 'timestamptz', (r) => time(r.createdAt)),
    ],
    campaignOf,
  ),
  claims: keyed<Claim>(
    'claims',
    [
      fixed('id', 'uuid', (r) => r.id),
      fixed('campaign_id', 'uuid', (r) => r.campaignId),
      fixed('customer_id', 'text', (r) => r.customerId),
      changing('decision', 'text', (r) => r.decision),
      changing('reason', 'text', (r) => r.reason),
      changing('rank', 'integer', (r) => r.rank),
      changing('coupon_id', 'uuid', (r) => r.couponId),
      changing('attempts', 'integer', (r) => r.attempts),
      fixed('first_asked_at', 'timestamptz', (r) => time(r.firstAskedAt)),
      changing('decided_at', 'timestamptz', (r) => time(r.decidedAt)),
    ],
    claimOf,
  ),
  coupons: keyed<Coupon>(
    'coupons',
    [
      fixed('id', 'uuid', (r) => r.id),
      fixed('campaign_id', 'uuid', (r) => r.campaignId),
      fixed('customer_id', 'text', (r) => r.customerId),
      fixed('rank', 'integer', (r) => r.rank),
      fixed('discount', 'jsonb', (r) => JSON.stringify(r.discount)),
      fixed('min_order', 'bigint', (r) => r.minOrder),
      fixed('max_discount', 'bigint', (r) => r.maxDiscount),
      fixed('issued_at', 'timestamptz', (r) => time(r.issuedAt)),
      fixed('expires_at', 'timestamptz', (r) => time(r.expiresAt)),
      changing('order_id', 'uuid', (r) => r.orderId),
    ],
    couponOf,
  ),
  orders: keyed<Order>('orders', orderColumns, orderOf, orderSelect),
  accounts: keyed<Account>(
    'accounts',
    [
      fixed('customer_id', 'text', (r) => r.customerId),
      changing('balance', 'bigint', (r) => r.balance),
      changing('charged_day', 'text', (r) => r.charged.day),
      changing('charged_in_day', 'integer', (r) => r.charged.inDay),
      changing('charged_in_month', 'integer', (r) => r.charged.inMonth),
    ],
    accountOf,
  ),
  products: keyed<Product>(
    'products',
    [
      fixed('id', 'uuid', (r) => r.id),
      changing('name', 'text', (r) => r.name),
      changing('category', 'text', (r) => r.category),
      changing('status', 'text', (r) => r.status),
      changing('lowest_price', 'bigint', (r) => r.lowestPrice),
      fixed('created_at', 'timestamptz', (r) => time(r.createdAt)),
    ],
    (row) => ({
      id: row.id,
      name: row.name,
      category: row.category,
      status: row.status,
      lowestPrice: row.lowest_price,
      createdAt: row.created_at,
    }),
  ),
  skus: keyed<Sku>(
    'skus',
    [
      fixed('sku', 'text', (r) => r.sku),
      fixed('product_id', 'uuid', (r) => r.productId),
      changing('product_name', 'text', (r) => r.productName),
      changing('product_status', 'text', (r) => r.productStatus),
      fixed('position', 'integer', (r) => r.position),
      changing('name', 'text', (r) => r.name),
      changing('price', 'bigint', (r) => r.price),
      changing('stock', 'bigint', (r) => r.stock),
    ],
    skuOf,
  ),
};

export const factTables: { readonly [F in FactKind]: Table<Facts[F]> } = {
  transfers: {
    name: 'transfers',
    columns: [
      fixed('id', 'uuid', (r: Transfer) => r.id),
      fixed('kind', 'text', (r) => r.kind),
      fixed('from_account', 'text', (r) => r.from),
      fixed('to_account', 'text', (r) => r.to),
      fixed('amount', 'bigint', (r) => r.amount),
      fixed('balance', 'bigint', (r) => r.balance),
      fixed('order_id', 'uuid', (r) => r.orderId),
      fixed('created_at', 'timestamptz', (r) => time(r.createdAt)),
    ],
  },
  adjustments: {
    name: 'stock_adjustments',
    columns: [
      fixed('id', 'uuid', (r: StockAdjustment) => r.id),
      fixed('sku', 'text', (r) => r.sku),
      fixed('delta', 'bigint', (r) => r.delta),
      fixed('stock', 'bigint', (r) => r.stock),
      fixed('reason', 'text', (r) => r.reason),
      fixed('by', 'text', (r) => r.by),
      fixed('created_at', 'timestamptz', (r) => time(r.createdAt)),
    ],
  },
  events: {
    name: 'outbox',
    columns: [
      fixed('id', 'uuid', (r: ShopEvent) => r.id),
      fixed('type', 'text', (r) => r.type),
      fixed('subject', 'text', (r) => r.subject),
      fixed('data', 'json', (r) => JSON.stringify(r.data)),
      fixed('occurred_at', 'timestamptz', (r) => time(r.occurredAt)),
    ],
  },
};

/** A line of an order at its place; written with a new order. */
export interface PlacedLine {
  readonly orderId: string;
  readonly position: number;
  readonly line: OrderLine;
}

export const lineTable: Table<PlacedLine> = {
  name: 'order_lines',
  columns: [
    fixed('order_id', 'uuid', (r: PlacedLine) => r.orderId),
    fixed('position', 'integer', (r) => r.position),
    fixed('sku', 'text', ({ line }) => line.sku),
    fixed('product_id', 'uuid', ({ line }) => line.productId),
    fixed('name', 'text', ({ line }) => line.name),
    fixed('quantity', 'integer', ({ line }) => line.quantity),
    fixed('unit_price', 'bigint', ({ line }) => line.unitPrice),
    fixed('discount', 'bigint', ({ line }) => line.discount),
    fixed('amount', 'bigint', ({ line }) => line.amount),
  ],
};

export const onceTable: Table<Remembered> = {
  name: 'idempotency_keys',
  columns: [
    fixed('subject', 'text', ({ once }: Remembered) => once.subject),
    fixed('operation', 'text', ({ once }) => once.operation),
    fixed('key', 'text', ({ once }) => once.key),
    fixed('fingerprint', 'text', ({ once }) => once.fingerprint),
    fixed('request_id', 'text', ({ once }) => once.requestId),
    fixed('outcome', 'json', ({ outcome }) => JSON.stringify(outcome)),
  ],
};
