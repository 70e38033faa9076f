import { describe, expect, test } from 'vitest';
import type { Transfer } from '../../core/balance/account.ts';
import type { Order, OrderLine } from '../../core/order/order.ts';
import type { Payment } from '../../core/payment/payment.ts';
import { won } from '../../core/shared/money.ts';
import { type Rule, type ShopBooks, violationsOf } from '../support/invariants.ts';
import { openShop } from '../support/shop.ts';

/** Sound books with a paid and a pending order of Kim's; Lee has charged and ordered nothing. */
const soundBooks = async (): Promise<ShopBooks> => {
  const { shop, books, customer, charged, ordered, product, operator } = openShop();
  const [kim, lee] = [await charged(customer('kim'), 50_000), await charged(customer('lee'), 3_000)];
  const socks = await product({ sku: 'SOCKS', price: 1_500, stock: 10 });
  const hat = await product({ sku: 'HAT', price: 4_000, stock: 10 });
  const items = [
    { sku: socks.sku, quantity: 2 },
    { sku: hat.sku, quantity: 1 },
  ];
  await shop.orders.place({ actor: kim }, { items, pay: 'balance' });
  await ordered(kim, hat, 3);
  await shop.catalog.adjustStock({ actor: operator }, { sku: hat.sku, delta: -1, reason: 'sun' });
  await charged(lee, 2_000);
  const { orders, ...rest } = structuredClone(await books());
  return { ...rest, orders: orders.toReversed() };
};

type Breakage = (books: ShopBooks) => ShopBooks;
const payment =
  (id: string): Breakage =>
  (books) => {
    const paid = books.transfers.find(({ kind }) => kind === 'payment') as Transfer;
    return { ...books, transfers: [...books.transfers, { ...paid, id }] };
  };
const refund =
  (amount: number, refundedTotal = amount): Breakage =>
  (books) => ({
    ...books,
    orders: books.orders.with(0, { ...(books.orders[0] as Order), refundedTotal: won(refundedTotal) }),
    transfers: [
      ...books.transfers,
      {
        id: 'refund',
        kind: 'refund',
        from: 'revenue',
        to: 'customer:kim',
        amount: won(amount),
        orderId: books.orders[0]?.id ?? null,
      },
    ],
    accounts: books.accounts.map((known) =>
      known.customerId === 'kim' ? { ...known, balance: won(known.balance + amount) } : known,
    ),
  });
/** 0 is the paid order, 1 the pending one. */
const order =
  (i: 0 | 1, change: (order: Order) => Partial<Order>): Breakage =>
  (books) => ({
    ...books,
    orders: books.orders.with(i, { ...(books.orders[i] as Order), ...change(books.orders[i] as Order) }),
  });
const line = (changes: Partial<OrderLine>): Breakage =>
  order(1, ({ lines }) => ({ lines: [{ ...(lines[0] as OrderLine), ...changes }] }));
const transfer =
  (i: number, changes: Partial<Transfer>): Breakage =>
  (books) => ({
    ...books,
    transfers: books.transfers.with(i, { ...(books.transfers[i] as Transfer), ...changes }),
  });
const balance =
  (customerId: string, change: (balance: number) => number): Breakage =>
  (books) => ({
    ...books,
    accounts: books.accounts.map((known) =>
      known.customerId === customerId ? { ...known, balance: change(known.balance) as never } : known,
    ),
  });
const stock =
  (change: (stock: number) => number): Breakage =>
  (books) => ({
    ...books,
    skus: books.skus.map((known) => (known.sku === 'HAT' ? { ...known, stock: change(known.stock) } : known)),
  });
const both =
  (...breakages: Breakage[]): Breakage =>
  (books) =>
    breakages.reduce((broken, breakage) => breakage(broken), books);

/** What was done to sound books, and the rules that must speak up, all of them and no other. */
const seeded: readonly (readonly [string, Breakage, readonly Rule[]])[] = [
  ['a piece sold twice', stock((pieces) => pieces + 1), ['stock_adds_up']],
  ['a piece lost', stock((pieces) => pieces - 1), ['stock_adds_up']],
  ['stock below zero', stock(() => -1), ['stock_not_negative', 'stock_adds_up']],
  ['half a piece', stock((pieces) => pieces + 0.5), ['stock_not_negative', 'stock_adds_up']],
  ['an adjustment lost', (books) => ({ ...books, adjustments: books.adjustments.slice(1) }), ['stock_adds_up']],
  ['a SKU lost', (books) => ({ ...books, skus: books.skus.slice(1) }), ['stock_adds_up']],
  ['an order lost', (books) => ({ ...books, orders: books.orders.slice(0, 1) }), ['stock_adds_up']],
  ['an order expired without giving stock back', order(1, () => ({ status: 'expired' })), ['stock_adds_up']],
  ['an order cancelled without giving stock back', order(1, () => ({ status: 'cancelled' })), ['stock_adds_up']],

  ['a balance too high', balance('kim', (won) => won + 1), ['balance_adds_up', 'accounts_zero_sum']],
  ['an account lost', (books) => ({ ...books, accounts: books.accounts.slice(1) }), ['balance_adds_up', 'accounts_zero_sum']],
  [
    'money of one customer on the account of another',
    both(
      balance('kim', (won) => won - 1_000),
      balance('lee', (won) => won + 1_000),
    ),
    ['balance_adds_up'],
  ],
  [
    'a balance below zero, well accounted for',
    both(
      (books) => ({ ...books, accounts: books.accounts.filter(({ customerId }) => customerId !== 'lee') }),
      (books) => ({ ...books, accounts: [...books.accounts, { customerId: 'lee', balance: won(-1_000) }] }),
      (books) => ({
        ...books,
        transfers: [
          ...books.transfers.filter(({ to }) => to !== 'customer:lee'),
          { id: 'x', kind: 'charge', from: 'cash_in', to: 'customer:lee', amount: won(-1_000), orderId: null },
        ],
      }),
    ),
    ['balance_not_negative', 'transfer_sound'],
  ],
  ['a charge lost', (books) => ({ ...books, transfers: books.transfers.slice(1) }), ['balance_adds_up', 'accounts_zero_sum']],
  ['a transfer of nothing', transfer(0, { amount: won(0) }), ['balance_adds_up', 'accounts_zero_sum', 'transfer_sound']],
  ['a charge from revenue', transfer(0, { from: 'revenue' }), ['transfer_sound']],
  ['a payment to cash-in', transfer(2, { to: 'cash_in' }), ['transfer_sound']],
  ['a payment for no order', transfer(2, { orderId: null }), ['transfer_sound', 'paid_once']],
  ['a payment for an order that is not there', transfer(2, { orderId: 'nothing' }), ['paid_once']],

  [
    'an order paid twice',
    both(
      payment('again'),
      balance('kim', (won) => won - 7_000),
    ),
    ['paid_once'],
  ],
  [
    'a payment that moved no money',
    order(1, ({ id, total }) => ({ status: 'paid', payment: kimsPayment(id, total) })),
    ['paid_once'],
  ],
  ['money moved, and no payment', order(0, () => ({ status: 'pending', payment: null })), ['paid_once']],
  ['a paid order without payment', order(1, () => ({ status: 'paid' })), ['paid_once']],
  ['a shipped order without payment', order(1, () => ({ status: 'shipped' })), ['paid_once']],
  ['a pending order with payment', order(0, () => ({ status: 'pending' })), ['paid_once']],
  [
    'a payment of another amount',
    order(0, ({ payment }) => ({ payment: { ...(payment as Payment), amount: won(1) } })),
    ['paid_once'],
  ],
  ["another order's payment", order(0, ({ payment }) => ({ payment: { ...(payment as Payment), orderId: 'x' } })), ['paid_once']],
  [
    'paid with the money of another customer',
    order(0, ({ payment }) => ({ customerId: 'lee', payment: { ...(payment as Payment), customerId: 'lee' } })),
    ['paid_once'],
  ],
  ['more refunded than paid', refund(7_001), ['refunds_within_payment']],
  ['a refund that the order does not know', refund(1_000, 0), ['refunds_within_payment']],
  ['a refund that moved no money', order(0, () => ({ refundedTotal: won(1) })), ['refunds_within_payment']],

  ['a line that does not add up', line({ amount: won(1) }), ['order_adds_up']],
  ['a line with another price', line({ unitPrice: won(1) }), ['order_adds_up']],
  ['a discount above the price', line({ discount: won(12_001), amount: won(-1) }), ['order_adds_up']],
  ['eleven pieces on a line', line({ quantity: 11 }), ['order_adds_up', 'stock_adds_up']],
  ['no pieces on a line', line({ quantity: 0 }), ['order_adds_up', 'stock_adds_up']],
  ['no lines', order(1, () => ({ lines: [] })), ['order_adds_up', 'stock_adds_up']],
  ['a SKU on two lines', order(1, ({ lines }) => ({ lines: [...lines, ...lines] })), ['order_adds_up', 'stock_adds_up']],
  ['another goods total', order(1, () => ({ goodsTotal: won(1) })), ['order_adds_up']],
  ['another discount total', order(1, () => ({ discountTotal: won(1) })), ['order_adds_up']],
  ['another total', order(1, () => ({ total: won(1) })), ['order_adds_up']],
];

const kimsPayment = (orderId: string, amount: Order['total']): Payment => ({
  id: 'p',
  orderId,
  customerId: 'kim',
  method: 'balance',
  amount,
  paidAt: 0,
});

describe('the checker of the invariants', () => {
  test('finds nothing in sound books', async () => {
    expect(violationsOf(await soundBooks())).toEqual([]);
    expect(violationsOf({ skus: [], adjustments: [], accounts: [], transfers: [], orders: [] })).toEqual([]);
  });

  test('finds nothing wrong with a refund', async () => {
    expect(violationsOf(refund(7_000)(await soundBooks()))).toEqual([]);
  });

  test('finds nothing wrong with an order whose stock came back', async () => {
    const back = both(
      order(1, () => ({ status: 'expired' })),
      stock((pieces) => pieces + 3),
    );
    expect(violationsOf(back(await soundBooks()))).toEqual([]);
  });

  test.each(seeded)('finds %s', async (_, breakage, rules) => {
    const found = violationsOf(breakage(await soundBooks()));
    expect([...new Set(found.map(({ rule }) => rule))].sort(), JSON.stringify(found)).toEqual([...rules].sort());
  });

  test('has a seeded violation for every rule', () => {
    const rules: { readonly [R in Rule]: true } = {
      stock_not_negative: true,
      stock_adds_up: true,
      balance_not_negative: true,
      balance_adds_up: true,
      accounts_zero_sum: true,
      transfer_sound: true,
      paid_once: true,
      refunds_within_payment: true,
      order_adds_up: true,
    };
    expect(new Set(seeded.flatMap(([, , expected]) => expected))).toEqual(new Set(Object.keys(rules)));
  });

  test('says whose and what', async () => {
    const found = violationsOf(stock((pieces) => pieces + 1)(await soundBooks()));
    expect(found).toEqual([{ rule: 'stock_adds_up', subject: 'HAT', says: 'stocked 9, on hand 6, held by live orders 4' }]);
  });
});
