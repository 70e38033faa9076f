import { emit } from '../event/event.ts';
import type { Ports } from '../ports.ts';
import type { Caller } from '../shared/actor.ts';
import { refuse } from '../shared/refusal.ts';
import { type Customer, normalEmail } from './customer.ts';

export interface RegisterCustomer {
  readonly email: string;
  /** 8 to 64 characters. */
  readonly password: string;
  readonly name: string;
}

/** One customer an e-mail address, however many ask at once; the others are refused with `email_taken`. */
export const registerCustomer =
  ({ transact, lock, passwords, customers, newId }: Pick<Ports, 'transact' | 'lock' | 'passwords' | 'customers' | 'newId'>) =>
  async ({ once }: Caller, input: RegisterCustomer): Promise<Customer> => {
    const email = normalEmail(input.email);
    return lock(`register:${email}`, async () => {
      // A login is never taken back, so where there is one the decision below refuses or replays: no hash is needed.
      const passwordHash = (await customers.login(email)) ? '' : await passwords.hash(input.password);
      return transact({ logins: [email], once }, (books) => {
        if (books.get('logins', email)) refuse({ code: 'email_taken' });
        const customer: Customer = { id: newId(), email, name: input.name, createdAt: books.now };
        books.create('customers', customer);
        books.put('logins', { email, customerId: customer.id, passwordHash });
        emit(books, newId(), 'customer.registered', customer.id, { customerId: customer.id });
        return customer;
      });
    });
  };
