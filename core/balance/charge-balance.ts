import { emit } from '../event/event.ts';
import type { Ports } from '../ports.ts';
import { type Caller, customerOf } from '../shared/actor.ts';
import { type Money, won } from '../shared/money.ts';
import type { Instant } from '../shared/time.ts';
import { accountName, charge, openAccount } from './account.ts';

export interface Charge {
  readonly id: string;
  readonly amount: Money;
  /** The balance after it. */
  readonly balance: Money;
  readonly createdAt: Instant;
}

/** Charges the caller's balance: a transfer from cash-in. Refuses what the charge policy does not allow. */
export const chargeBalance =
  ({ transact, newId, shopDay, policy }: Pick<Ports, 'transact' | 'newId' | 'shopDay' | 'policy'>) =>
  async ({ actor, once }: Caller, input: { readonly amount: number }): Promise<Charge> => {
    const customerId = customerOf(actor);
    return transact({ accounts: [customerId], once }, (books) => {
      const amount = won(input.amount);
      const account = charge(
        books.get('accounts', customerId) ?? openAccount(customerId),
        amount,
        shopDay(books.now),
        policy.charge,
      );
      const done: Charge = { id: newId(), amount, balance: account.balance, createdAt: books.now };
      books.put('accounts', account);
      books.append('transfers', {
        ...done,
        kind: 'charge',
        from: 'cash_in',
        to: accountName(customerId),
        orderId: null,
      });
      emit(books, newId(), 'balance.charged', customerId, { customerId, chargeId: done.id, amount });
      return done;
    });
  };
