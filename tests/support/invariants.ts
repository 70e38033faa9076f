import { type Account, accountName, type Transfer } from '../../core/balance/account.ts';
import type { Sku, StockAdjustment } from '../../core/catalog/product.ts';
import type { Order, OrderLine, OrderStatus } from '../../core/order/order.ts';

/** A shop's records as plain data, wherever they were kept. */
export interface ShopBooks {
  readonly skus: readonly Pick<Sku, 'sku' | 'stock'>[];
  readonly adjustments: readonly Pick<StockAdjustment, 'sku' | 'delta'>[];
  readonly accounts: readonly Pick<Account, 'customerId' | 'balance'>[];
  readonly transfers: readonly Pick<Transfer, 'id' | 'kind' | 'from' | 'to' | 'amount' | 'orderId'>[];
  readonly orders: readonly Omit<Order, 'createdAt' | 'expiresAt'>[];
}

export type Rule =
  | 'stock_not_negative'
  | 'stock_adds_up'
  | 'balance_not_negative'
  | 'balance_adds_up'
  | 'accounts_zero_sum'
  | 'transfer_sound'
  | 'paid_once'
  | 'refunds_within_payment'
  | 'order_adds_up';

export interface Violation {
  readonly rule: Rule;
  /** The SKU, customer, order or transfer that breaks it. */
  readonly subject: string;
  readonly says: string;
}

/** What of product.md, "What must always be true", does not hold (1, 3, 4, without coupons). Sound books give an empty list. */
export const violationsOf = (books: ShopBooks): Violation[] => [
  ...stockViolations(books),
  ...balanceViolations(books),
  ...books.transfers.flatMap(transferViolations),
  ...paymentViolations(books),
  ...books.orders.flatMap(orderViolations),
];

/** Pieces of an order that is neither are held or gone, never on hand. */
const givenBack: readonly OrderStatus[] = ['cancelled', 'expired'];
const unpaid: readonly OrderStatus[] = ['pending', 'expired'];

const stockViolations = ({ skus, adjustments, orders }: ShopBooks): Violation[] => {
  const onHand = new Map(skus.map(({ sku, stock }) => [sku, stock]));
  const stocked = totals(adjustments.map(({ sku, delta }) => [sku, delta]));
  const live = orders.filter(({ status }) => !givenBack.includes(status));
  const held = totals(live.flatMap(({ lines }) => lines.map(({ sku, quantity }) => [sku, quantity] as const)));
  return [...new Set([...onHand.keys(), ...stocked.keys(), ...held.keys()])].flatMap((sku) => {
    const stock = onHand.get(sku) ?? 0;
    const [came, kept] = [stocked.get(sku) ?? 0, held.get(sku) ?? 0];
    return [
      ...unless(Number.isSafeInteger(stock) && stock >= 0, 'stock_not_negative', sku, `${stock} on hand`),
      ...unless(came === stock + kept, 'stock_adds_up', sku, `stocked ${came}, on hand ${stock}, held by live orders ${kept}`),
    ];
  });
};

const balanceViolations = ({ accounts, transfers }: ShopBooks): Violation[] => {
  const moved = totals(transfers.flatMap(({ from, to, amount }) => [[from, -amount] as const, [to, amount] as const]));
  const shopAccounts = new Set(['cash_in', 'revenue']);
  const balances = new Map<string, number>(accounts.map(({ customerId, balance }) => [accountName(customerId), balance]));
  const owners = new Set([...balances.keys(), ...moved.keys()]).difference(shopAccounts);
  const all = sumOf(balances.values()) + sumOf([...shopAccounts].map((name) => moved.get(name) ?? 0));
  return [
    ...[...owners].flatMap((name) => {
      const [balance, sum] = [balances.get(name) ?? 0, moved.get(name) ?? 0];
      return [
        ...unless(Number.isSafeInteger(balance) && balance >= 0, 'balance_not_negative', name, `${balance} won`),
        ...unless(balance === sum, 'balance_adds_up', name, `balance ${balance}, transfers ${sum}`),
      ];
    }),
    ...unless(all === 0, 'accounts_zero_sum', 'all accounts', `${all} won`),
  ];
};

const transferViolations = ({ id, kind, from, to, amount, orderId }: ShopBooks['transfers'][number]): Violation[] => {
  const [source, target] = { charge: ['cash_in', 'customer'], payment: ['customer', 'revenue'], refund: ['revenue', 'customer'] }[
    kind
  ];
  const sides = sideOf(from) === source && sideOf(to) === target;
  return [
    ...unless(Number.isSafeInteger(amount) && amount > 0, 'transfer_sound', id, `moves ${amount} won`),
    ...unless(sides, 'transfer_sound', id, `${kind} from ${from} to ${to}`),
    ...unless((orderId === null) === (kind === 'charge'), 'transfer_sound', id, `${kind} for order ${orderId}`),
  ];
};

const sideOf = (account: string): string => account.replace(/:.*/, '');

const paymentViolations = ({ orders, transfers }: ShopBooks): Violation[] => {
  const of = Map.groupBy(transfers, ({ orderId }) => orderId);
  const known = new Set<string | null>(orders.map(({ id }) => id));
  const strays = transfers.filter(({ orderId }) => orderId !== null && !known.has(orderId));
  return [
    ...strays.map(({ id, orderId }) => violation('paid_once', id, `moves money for order ${orderId}, which is not there`)),
    ...orders.flatMap(({ id, customerId, status, total, refundedTotal, payment }) => {
      const moves = of.get(id) ?? [];
      const payments = moves.filter(({ kind }) => kind === 'payment');
      const paid = sumOf(payments.map(({ amount }) => amount));
      const refunds = sumOf(moves.filter(({ kind }) => kind === 'refund').map(({ amount }) => amount));
      const owned = moves.every(({ from, to }) => [from, to].includes(accountName(customerId)));
      const must = !unpaid.includes(status) && status !== 'cancelled';
      const matches = !payment || (payment.orderId === id && payment.customerId === customerId && payment.amount === total);
      return [
        ...unless(payments.length === (payment ? 1 : 0), 'paid_once', id, `${payments.length} payments moved money`),
        ...unless(!payment || paid === total, 'paid_once', id, `total ${total}, paid ${paid}`),
        ...unless(matches, 'paid_once', id, `its payment is ${JSON.stringify(payment)}`),
        ...unless(owned, 'paid_once', id, `somebody else's money moved for it`),
        ...unless(
          payment ? !unpaid.includes(status) : !must,
          'paid_once',
          id,
          `${status} ${payment ? 'with' : 'without'} payment`,
        ),
        ...unless(refunds <= paid, 'refunds_within_payment', id, `paid ${paid}, refunded ${refunds}`),
        ...unless(refunds === refundedTotal, 'refunds_within_payment', id, `says ${refundedTotal}, refunded ${refunds}`),
      ];
    }),
  ];
};

const orderViolations = ({ id, lines, goodsTotal, discountTotal, total }: ShopBooks['orders'][number]): Violation[] => {
  const goods = sumOf(lines.map(({ quantity, unitPrice }) => quantity * unitPrice));
  const discount = sumOf(lines.map((line) => line.discount));
  const skus = new Set(lines.map(({ sku }) => sku));
  return [
    ...lines.flatMap((line) => unless(soundLine(line), 'order_adds_up', id, `line ${JSON.stringify(line)}`)),
    ...unless(lines.length > 0 && skus.size === lines.length, 'order_adds_up', id, `${lines.length} lines, ${skus.size} SKUs`),
    ...unless(goodsTotal === goods, 'order_adds_up', id, `goods total ${goodsTotal}, lines ${goods}`),
    ...unless(discountTotal === discount, 'order_adds_up', id, `discount total ${discountTotal}, lines ${discount}`),
    ...unless(total === goodsTotal - discountTotal && total >= 0, 'order_adds_up', id, `total ${total}`),
  ];
};

const soundLine = ({ quantity, unitPrice, discount, amount }: OrderLine): boolean =>
  Number.isInteger(quantity) &&
  quantity >= 1 &&
  quantity <= 10 &&
  unitPrice > 0 &&
  discount >= 0 &&
  discount <= quantity * unitPrice &&
  amount === quantity * unitPrice - discount;

const violation = (rule: Rule, subject: string, says: string): Violation => ({ rule, subject, says });
const unless = (holds: boolean, rule: Rule, subject: string, says: string): Violation[] =>
  holds ? [] : [violation(rule, subject, says)];

const sumOf = (amounts: Iterable<number>): number => [...amounts].reduce((sum, amount) => sum + amount, 0);
const totals = (entries: readonly (readonly [string, number])[]): Map<string, number> => {
  const sums = new Map<string, number>();
  for (const [key, amount] of entries) sums.set(key, (sums.get(key) ?? 0) + amount);
  return sums;
};
