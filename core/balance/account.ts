import { add, type Money, subtract, won } from '../shared/money.ts';
import { refuse } from '../shared/refusal.ts';
import type { Day, Instant } from '../shared/time.ts';

/** A customer's money. Never below zero; always the sum of its transfers. */
export interface Account {
  readonly customerId: string;
  readonly balance: Money;
  /** Charges counted for the limits, as of the day of the last charge. */
  readonly charged: { readonly day: Day; readonly inDay: number; readonly inMonth: number };
}

/**
 * The shop's own accounts have no balance of their own: theirs is the sum of the transfers. A stored one would be
 * a row that every payment of every process must hold.
 */
export type ShopAccount = 'cash_in' | 'revenue';
export type AccountName = ShopAccount | `customer:${string}`;

/** Immutable. Moves `amount` from one account to another, so that all accounts together are always zero. */
export interface Transfer {
  readonly id: string;
  readonly kind: 'charge' | 'payment' | 'refund';
  readonly from: AccountName;
  readonly to: AccountName;
  /** Always positive. */
  readonly amount: Money;
  /** The customer's balance after it. */
  readonly balance: Money;
  readonly orderId: string | null;
  readonly createdAt: Instant;
}

/** A transfer as the customer sees it: negative when money went away. */
export interface BalanceEntry {
  readonly id: string;
  readonly kind: Transfer['kind'];
  readonly amount: Money;
  readonly balance: Money;
  readonly orderId: string | null;
  readonly createdAt: Instant;
}

export interface ChargePolicy {
  readonly min: Money;
  readonly max: Money;
  readonly step: Money;
  readonly perDay: number;
  readonly perMonth: number;
}

export const accountName = (customerId: string): AccountName => `customer:${customerId}`;

export const openAccount = (customerId: string): Account => ({
  customerId,
  balance: won(0),
  charged: { day: '0000-00-00', inDay: 0, inMonth: 0 },
});

export const credit = (account: Account, amount: Money): Account => ({ ...account, balance: add(account.balance, amount) });

/** Takes money out. Refuses what would leave less than nothing: `insufficient_balance`. */
export const debit = (account: Account, amount: Money): Account =>
  account.balance < amount
    ? refuse({ code: 'insufficient_balance', needed: amount, available: account.balance })
    : { ...account, balance: subtract(account.balance, amount) };

/** Puts charged money in, within the policy. Days and months are the shop's. */
export const charge = (account: Account, amount: Money, today: Day, policy: ChargePolicy): Account => {
  const { min, max, step, perDay, perMonth } = policy;
  if (amount < min || amount > max || amount % step !== 0) refuse({ code: 'invalid_charge_amount', min, max, step });
  const { day } = account.charged;
  const inDay = day === today ? account.charged.inDay : 0;
  const inMonth = day.slice(0, 7) === today.slice(0, 7) ? account.charged.inMonth : 0;
  if (inDay >= perDay) refuse({ code: 'charge_limit_reached', per: 'day', limit: perDay });
  if (inMonth >= perMonth) refuse({ code: 'charge_limit_reached', per: 'month', limit: perMonth });
  return { ...credit(account, amount), charged: { day: today, inDay: inDay + 1, inMonth: inMonth + 1 } };
};

export const entryOf = (transfer: Transfer, customerId: string): BalanceEntry => ({
  id: transfer.id,
  kind: transfer.kind,
  amount: transfer.to === accountName(customerId) ? transfer.amount : won(-transfer.amount),
  balance: transfer.balance,
  orderId: transfer.orderId,
  createdAt: transfer.createdAt,
});
