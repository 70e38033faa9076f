import { accountName, debit, openAccount } from '../balance/account.ts';
import type { Books } from '../books.ts';
import { emit } from '../event/event.ts';
import { type Order, paid } from '../order/order.ts';
import type { Ports } from '../ports.ts';
import { type Caller, customerOf } from '../shared/actor.ts';
import { refuse } from '../shared/refusal.ts';
import type { Payment } from './payment.ts';

/** Pays a pending order from its owner's balance: a transfer to revenue. Needs the owner's account on the books. */
export const payFromBalance = (books: Books, order: Order, newId: () => string): Order & { readonly payment: Payment } => {
  const { customerId, id: orderId, total: amount } = order;
  const payment: Payment = { id: newId(), orderId, customerId, method: 'balance', amount, paidAt: books.now };
  const paidOrder = { ...paid(order, payment), payment };
  const account = debit(books.get('accounts', customerId) ?? openAccount(customerId), amount);
  books.put('accounts', account);
  books.append('transfers', {
    id: newId(),
    kind: 'payment',
    from: accountName(customerId),
    to: 'revenue',
    amount,
    balance: account.balance,
    orderId,
    createdAt: books.now,
  });
  emit(books, newId(), 'order.paid', orderId, {
    orderId,
    customerId,
    paymentId: payment.id,
    amount,
    lines: order.lines.map(({ sku, productId, quantity, amount: revenue }) => ({ sku, productId, quantity, revenue })),
  });
  return paidOrder;
};

/**
 * Takes the total from the balance once, however often and at once it is asked: an order that is paid answers with its
 * payment. `insufficient_balance` leaves the order pending and payable.
 */
export const payOrder =
  ({ transact, lock, newId }: Pick<Ports, 'transact' | 'lock' | 'newId'>) =>
  async ({ actor, once }: Caller, { orderId }: { readonly orderId: string }): Promise<Payment> => {
    const customerId = customerOf(actor);
    return lock(`payment:process:${orderId}`, () =>
      transact({ orders: [orderId], accounts: [customerId], once }, (books) => {
        const order = books.get('orders', orderId);
        if (order?.customerId !== customerId) return refuse({ code: 'not_found', what: 'order' });
        if (order.payment) return order.payment;
        const paidOrder = payFromBalance(books, order, newId);
        books.put('orders', paidOrder);
        return paidOrder.payment;
      }),
    );
  };
