import { emit } from '../event/event.ts';
import type { Ports } from '../ports.ts';
import type { Customer } from './customer.ts';

export interface AdmitCustomer {
  readonly id: string;
  readonly email: string | null;
  readonly name: string;
}

/** The record of a customer whom an outside identity provider vouches for; made on first use. */
export const admitCustomer =
  ({ transact, customers, newId }: Pick<Ports, 'transact' | 'customers' | 'newId'>) =>
  async (input: AdmitCustomer): Promise<Customer> =>
    (await customers.find(input.id)) ??
    transact({ customers: [input.id] }, (books) => {
      const known = books.get('customers', input.id);
      if (known) return known;
      const customer: Customer = { ...input, createdAt: books.now };
      books.put('customers', customer);
      emit(books, newId(), 'customer.registered', customer.id, { customerId: customer.id });
      return customer;
    });
