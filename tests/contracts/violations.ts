import { accountName } from '../../core/balance/account.ts';
import type { Everything } from './world.ts';

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

/** What must always be true of stock, money and orders: each sentence is one that is not. */
export const violations = ({ skus, adjustments, accounts, transfers, orders }: Omit<Everything, 'events'>): string[] => {
  const found: string[] = [];
  const must = (right: boolean, what: string) => {
    if (!right) found.push(what);
  };
  const live = orders.filter(({ status }) => status !== 'cancelled' && status !== 'expired');

  for (const { sku, stock } of skus) {
    const stocked = sum(adjustments.filter((adjustment) => adjustment.sku === sku).map(({ delta }) => delta));
    const held = sum(live.flatMap(({ lines }) => lines.filter((line) => line.sku === sku).map(({ quantity }) => quantity)));
    must(stock >= 0, `stock of ${sku} is ${stock}`);
    must(stocked === stock + held, `${sku}: stocked ${stocked}, on hand ${stock}, held ${held}`);
  }
  for (const { customerId, balance } of accounts) {
    const own = accountName(customerId);
    const moved = sum(transfers.map(({ from, to, amount }) => (to === own ? amount : from === own ? -amount : 0)));
    must(balance >= 0, `balance of ${customerId} is ${balance}`);
    must(balance === moved, `${customerId}: balance ${balance}, transfers ${moved}`);
  }
  const known = new Set(['cash_in', 'revenue', ...accounts.map(({ customerId }) => accountName(customerId))]);
  for (const { id, from, to, amount } of transfers) {
    must(amount > 0, `transfer ${id} moves ${amount}`);
    must(known.has(from) && known.has(to), `transfer ${id} between ${from} and ${to}`);
  }
  for (const { id, customerId, total, lines, payment, status, refundedTotal } of orders) {
    const payments = transfers.filter(({ kind, orderId }) => kind === 'payment' && orderId === id);
    must(total === sum(lines.map(({ amount }) => amount)), `order ${id}: total ${total}`);
    must(payments.length === (payment ? 1 : 0), `order ${id}: ${payments.length} payments`);
    must(
      payments.every(({ from, amount }) => from === accountName(customerId) && amount === total),
      `order ${id}: paid another amount`,
    );
    must(
      payment !== null || status === 'pending' || status === 'expired' || status === 'cancelled',
      `order ${id}: ${status} unpaid`,
    );
    must(refundedTotal <= total, `order ${id}: refunded ${refundedTotal}`);
  }
  return found;
};
