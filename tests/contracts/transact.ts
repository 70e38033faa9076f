import { expect } from 'vitest';
import { newUuid } from '../../adapters/system/system.ts';
import { type Account, accountName, type Transfer } from '../../core/balance/account.ts';
import type { Books, Kind, Records, Scope, Transact } from '../../core/books.ts';
import { kinds } from '../../core/books.ts';
import type { Customer, Login } from '../../core/customer/customer.ts';
import { won } from '../../core/shared/money.ts';
import { DomainError, type Refusal, refuse } from '../../core/shared/refusal.ts';
import {
  atOnce,
  type Checks,
  type MakeStoreWorld,
  newAccount,
  newEvent,
  newOnce,
  newOrder,
  newProduct,
  newSku,
  refusalOf,
  runChecks,
  type StoreWorld,
} from './world.ts';

const pairOf = ({ transact, other }: StoreWorld) => [transact, other] as const;

/** Puts records into the store; the scope names them. */
const given = <K extends Kind>(transact: Transact, kind: K, ...records: Records[K][]): Promise<void> =>
  transact({}, (books) => {
    for (const record of records) books.create(kind, record);
  });

const read = <K extends Kind>(transact: Transact, kind: K, key: string): Promise<Records[K] | undefined> =>
  transact({ [kind]: [key] } as Scope, (books) => books.get(kind, key));

/** One more in the account; gives what it then holds. */
const addOne = (transact: Transact, customerId: string, scope: Scope = {}): Promise<number> =>
  transact({ accounts: [customerId], ...scope }, (books) => increment(books, customerId));

const increment = (books: Books, customerId: string): number => {
  const account = books.get('accounts', customerId) as Account;
  const balance = won(account.balance + 1);
  books.put('accounts', { ...account, balance });
  return balance;
};

const newTransfer = (changes: Partial<Transfer> = {}): Transfer => ({
  id: newUuid(),
  kind: 'charge',
  from: 'cash_in',
  to: accountName(newUuid()),
  amount: won(1_000),
  balance: won(1_000),
  orderId: null,
  createdAt: 1_700_000_000_001,
  ...changes,
});

/** Text that breaks what is quoted, split or parsed carelessly. */
export const awkwardTexts: readonly string[] = [
  '',
  ' ',
  'NULL',
  'null',
  `it's "quoted"`,
  'back\\slash \\" \\\\ \\n \\x41',
  '{braces},{more}',
  'comma, comma,',
  '(row,of) [1:2]={a,b}',
  '$1 $$ :name ?',
  'line\nbreak\r\ttab\u0001\u007f',
  '양말 두 켤레',
  '\uac00 \u1100\u1161 é e\u0301',
  '🧦👩‍👩‍👧‍👦',
  '가'.repeat(64),
  '"'.repeat(64),
  '\\'.repeat(64),
  "'; drop table orders; --",
  '\u2028\ufeff\uffff',
];

const BIG = 1_000_000_000_000;

/** Lost updates: decisions on one record, through both handles, must come one after the other. */
export const neverInterleaves = async ({ transact, other }: Pick<StoreWorld, 'transact' | 'other'>): Promise<void> => {
  const { customerId } = newAccount();
  await given(transact, 'accounts', newAccount({ customerId }));
  const seen = await atOnce([transact, other], 100, (handle) => addOne(handle, customerId));
  expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
  expect((await read(other, 'accounts', customerId))?.balance).toBe(100);
};

/** One idempotency key at once through both handles: one effect, one answer. */
export const keyServesOnce = async (world: StoreWorld): Promise<void> => {
  const once = newOnce();
  const account = newAccount();
  await given(world.transact, 'accounts', account);
  const results = await atOnce(pairOf(world), 20, (handle) => addOne(handle, account.customerId, { once }));
  expect(results).toEqual(Array(20).fill(1));
  expect((await world.reads.accounts.find(account.customerId))?.balance).toBe(1);
};

export const transactChecks: Checks = {
  async 'commits all that a decision changed, facts included'({ transact, reads, everything }) {
    const product = newProduct();
    const sku = newSku(product, { stock: 7 });
    const account = newAccount({ balance: won(1_000) });
    const order = newOrder();
    const transfer = newTransfer();
    const event = newEvent();
    const adjustment = { id: newUuid(), sku: sku.sku, delta: 7, stock: 7, reason: 'new', by: 'me', createdAt: 1_700_000_000_000 };
    const result = await transact({ skus: [sku.sku], accounts: [account.customerId] }, (books) => {
      books.create('products', product);
      books.put('skus', sku);
      books.put('accounts', account);
      books.create('orders', order);
      books.append('transfers', transfer);
      books.append('adjustments', adjustment);
      books.append('events', event);
      return { some: ['result'] };
    });
    expect(result).toEqual({ some: ['result'] });
    expect(await reads.products.skus([sku.sku])).toEqual([sku]);
    expect(await reads.accounts.find(account.customerId)).toEqual(account);
    expect(await reads.orders.find(order.id, null)).toEqual(order);
    expect(await everything()).toEqual({
      skus: [sku],
      accounts: [account],
      orders: [order],
      transfers: [transfer],
      adjustments: [adjustment],
      events: [event],
    });
  },

  async 'throws what the decision throws, and then nothing is changed'({ transact, reads, everything }) {
    const account = newAccount({ balance: won(5) });
    const order = newOrder();
    const product = newProduct();
    await given(transact, 'accounts', account);
    for (const error of [new Error('a fault'), new DomainError({ code: 'no_items' }), 'no error at all', undefined]) {
      const failed = transact({ accounts: [account.customerId] }, (books) => {
        increment(books, account.customerId);
        increment(books, account.customerId);
        books.create('orders', order);
        books.create('products', product);
        books.append('transfers', newTransfer());
        books.append('events', newEvent());
        throw error;
      });
      expect(
        await failed.then(
          () => 'done',
          (thrown) => ({ thrown }),
        ),
      ).toEqual({ thrown: error });
    }
    expect(await reads.orders.find(order.id, null)).toBeNull();
    expect(await reads.products.find(product.id)).toBeNull();
    expect(await everything()).toMatchObject({ accounts: [account], orders: [], transfers: [], events: [] });
  },

  async 'a command that throws takes nothing from those decided with it'(world) {
    const { transact, everything } = world;
    const [a, b] = [newAccount(), newAccount()];
    await given(transact, 'accounts', a, b);
    const outcomes = await atOnce(pairOf(world), 60, (handle, i) =>
      refusalOf(
        handle({ accounts: [a.customerId, b.customerId] }, (books) => {
          increment(books, a.customerId);
          books.append('events', newEvent({ subject: String(i) }));
          const order = newOrder({ customerId: String(i) });
          books.create('orders', order);
          if (i % 3 === 1) refuse({ code: 'no_items' });
          if (i % 3 === 2) increment(books, b.customerId);
          return order.id;
        }),
      ),
    );
    const kept = Array.from({ length: 60 }, (_, i) => String(i)).filter((i) => Number(i) % 3 !== 1);
    expect(outcomes.filter((outcome) => (outcome as Refusal).code === 'no_items')).toHaveLength(20);
    const { accounts, orders, events } = await everything();
    expect(new Map(accounts.map(({ customerId, balance }) => [customerId, balance]))).toEqual(
      new Map([
        [a.customerId, 40],
        [b.customerId, 20],
      ]),
    );
    expect(orders.map(({ customerId }) => customerId).toSorted()).toEqual(kept.toSorted());
    expect(events.map(({ subject }) => subject).toSorted()).toEqual(kept.toSorted());
  },

  async 'decides the commands of one handle in the order in which they were asked'({ transact }) {
    const account = newAccount();
    await given(transact, 'accounts', account);
    const results = await Promise.all(Array.from({ length: 50 }, () => addOne(transact, account.customerId)));
    expect(results).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
  },

  async 'sees what was committed before, by whichever handle, and so do reads'({ transact, other, reads }) {
    const account = newAccount();
    await given(transact, 'accounts', account);
    for (let i = 1; i <= 10; i++) {
      expect(await addOne(i % 2 ? transact : other, account.customerId)).toBe(i);
      expect((await read(i % 2 ? other : transact, 'accounts', account.customerId))?.balance).toBe(i);
      expect((await reads.accounts.find(account.customerId))?.balance).toBe(i);
    }
  },

  'never lets decisions on one record interleave': neverInterleaves,

  async 'holds all the records that a command names, in whatever order it names them'(world) {
    const accounts = Array.from({ length: 4 }, () => newAccount({ balance: won(1_000) }));
    await given(world.transact, 'accounts', ...accounts);
    const ids = accounts.map(({ customerId }) => customerId);
    const expected = Array(4).fill(1_000);
    const moves = Array.from({ length: 100 }, (_, i) => [i % 4, (i + 1 + (i % 3)) % 4, (i % 7) + 1] as const);
    for (const [from, to, amount] of moves) {
      expected[from] -= amount;
      expected[to] += amount;
    }
    await atOnce(pairOf(world), 100, (handle, i) => {
      const [from, to, amount] = moves[i] as (typeof moves)[number];
      const [giver, taker] = [ids[from] as string, ids[to] as string];
      return handle({ accounts: i % 2 ? [giver, taker] : [taker, giver] }, (books) => {
        const [a, b] = [books.get('accounts', giver) as Account, books.get('accounts', taker) as Account];
        books.put('accounts', { ...a, balance: won(a.balance - amount) });
        books.put('accounts', { ...b, balance: won(b.balance + amount) });
      });
    });
    expect(await Promise.all(ids.map(async (id) => (await world.reads.accounts.find(id))?.balance))).toEqual(expected);
  },

  async 'crosses kinds without a deadlock'(world) {
    const product = newProduct();
    const account = newAccount();
    const sku = newSku(product);
    await given(world.transact, 'products', product);
    await given(world.transact, 'skus', sku);
    await given(world.transact, 'accounts', account);
    await atOnce(pairOf(world), 60, (handle, i) => {
      const scope: Scope[] = [
        { skus: [sku.sku], accounts: [account.customerId], products: [product.id] },
        { products: [product.id], accounts: [account.customerId], skus: [sku.sku] },
        { accounts: [account.customerId], skus: [sku.sku] },
      ];
      return handle(scope[i % 3] as Scope, (books) => {
        increment(books, account.customerId);
        const known = books.get('skus', sku.sku);
        if (known) books.put('skus', { ...known, stock: known.stock + 1 });
      });
    });
    const { accounts, skus } = await world.everything();
    expect([accounts[0]?.balance, skus[0]?.stock]).toEqual([60, 60]);
  },

  async 'gives undefined for a key that has no record'({ transact }) {
    for (const kind of kinds) expect(await read(transact, kind, newUuid())).toBeUndefined();
  },

  async 'gives undefined for a key that no record can have, and disturbs nobody'({ transact }) {
    const account = newAccount();
    await given(transact, 'accounts', account);
    for (const kind of kinds) {
      for (const key of ['', 'not a uuid', '👻', 'x'.repeat(1_000)]) {
        const [nothing, balance] = await Promise.all([read(transact, kind, key), addOne(transact, account.customerId)]);
        expect([nothing, typeof balance]).toEqual([undefined, 'number']);
      }
    }
  },

  async 'throws when a decision touches a record that its scope does not name, and changes nothing'({ transact, everything }) {
    const [named, unnamed] = [newAccount(), newAccount()];
    await given(transact, 'accounts', named, unnamed);
    const attempts: ((books: Books) => unknown)[] = [
      (books) => books.get('accounts', unnamed.customerId),
      (books) => books.put('accounts', { ...unnamed, balance: won(1) }),
      (books) => books.get('carts', named.customerId),
      (books) => books.put('carts', { customerId: named.customerId, items: [] }),
    ];
    for (const attempt of attempts) {
      const failed = transact({ accounts: [named.customerId] }, (books) => {
        increment(books, named.customerId);
        attempt(books);
      });
      await expect(failed).rejects.toThrow(/does not name/);
    }
    const { accounts } = await everything();
    expect(accounts.map(({ balance }) => balance)).toEqual([0, 0]);
  },

  async 'a new record is there for everybody once its command is resolved'(world) {
    await atOnce(pairOf(world), 20, async (handle) => {
      const order = newOrder();
      const session = {
        id: newUuid(),
        customerId: order.customerId,
        generation: 1,
        ended: false,
        issuedAt: 1_000,
        expiresAt: 2_000,
      };
      await handle({}, (books) => {
        books.create('customers', { id: order.customerId, email: null, name: '', createdAt: 0 });
        books.create('orders', order);
        books.create('sessions', session);
      });
      const another = handle === world.transact ? world.other : world.transact;
      expect(await read(another, 'orders', order.id)).toEqual(order);
      expect(await read(handle, 'sessions', session.id)).toEqual(session);
      expect(await world.reads.orders.find(order.id, order.customerId)).toEqual(order);
      expect(await world.reads.customers.session(session.id)).toEqual(session);
    });
  },

  async 'what is created and changed again before the commit is written as it was last'(world) {
    const id = newUuid();
    await atOnce(pairOf(world), 30, (handle) =>
      handle({ accounts: [id] }, (books) => {
        if (!books.get('accounts', id)) books.put('accounts', newAccount({ customerId: id }));
        increment(books, id);
      }),
    );
    expect((await world.reads.accounts.find(id))?.balance).toBe(30);
  },

  async 'creates no record where there is one'({ transact, other, reads }) {
    const order = newOrder();
    await given(transact, 'orders', order);
    for (const handle of [transact, other]) {
      await expect(given(handle, 'orders', newOrder({ id: order.id }))).rejects.toThrow();
      await expect(handle({ orders: [order.id] }, (books) => books.create('orders', newOrder({ id: order.id })))).rejects.toThrow(
        /not new/,
      );
    }
    expect(await reads.orders.find(order.id, null)).toEqual(order);
  },

  async 'of many who create the same key one wins, and the others decide again on what it made'(world) {
    for (let round = 0; round < 5; round++) {
      const email = `${newUuid()}@example.com`;
      const outcomes = await atOnce(pairOf(world), 20, (handle, i) => {
        const customer: Customer = { id: newUuid(), email, name: `${i}`, createdAt: 1_700_000_000_000 };
        return refusalOf(
          handle({ logins: [email] }, (books) => {
            if (books.get('logins', email)) refuse({ code: 'email_taken' });
            books.create('customers', customer);
            books.put('logins', { email, customerId: customer.id, passwordHash: 'hash' });
            books.append('events', newEvent({ subject: email }));
            return customer;
          }),
        );
      });
      const [won, ...more] = outcomes.filter((outcome) => (outcome as { done?: Customer }).done);
      const winner = (won as { done: Customer }).done;
      expect(more).toEqual([]);
      expect(outcomes.filter((outcome) => (outcome as Refusal).code === 'email_taken')).toHaveLength(19);
      expect(await world.reads.customers.login(email)).toEqual({ email, customerId: winner.id, passwordHash: 'hash' });
      expect(await world.reads.customers.find(winner.id)).toEqual(winner);
      expect((await world.everything()).events.filter(({ subject }) => subject === email)).toHaveLength(1);
    }
  },

  async 'keeps the result under an idempotency key: the same key again does not decide'(world) {
    const once = newOnce();
    const account = newAccount();
    await given(world.transact, 'accounts', account);
    for (let i = 0; i < 3; i++)
      for (const handle of pairOf(world)) expect(await addOne(handle, account.customerId, { once })).toBe(1);
    // Another request, no matter which, asks under the same key.
    expect(await addOne(world.other, account.customerId, { once: { ...once, requestId: newUuid() } })).toBe(1);
    let decided = 0;
    await world.transact({ once }, () => decided++);
    expect(decided).toBe(0);
    expect((await world.reads.accounts.find(account.customerId))?.balance).toBe(1);
  },

  async 'keeps a refusal too, and names the request that it was decided for'(world) {
    const once = newOnce();
    const refusal: Refusal = { code: 'insufficient_stock', sku: 'a "b"\\', requested: 3, available: 0 };
    const refused = (handle: Transact, requestId: string, what: Refusal) =>
      handle({ once: { ...once, requestId } }, (books) => {
        books.append('events', newEvent());
        return refuse(what);
      });
    const first = await refused(world.transact, once.requestId, refusal).catch((error) => error);
    expect(first).toBeInstanceOf(DomainError);
    expect([first.refusal, first.decidedFor]).toEqual([refusal, undefined]);
    for (const handle of pairOf(world)) {
      const again = await refused(handle, newUuid(), { code: 'no_items' }).catch((error) => error);
      expect(again).toBeInstanceOf(DomainError);
      expect([again.refusal, again.decidedFor]).toEqual([refusal, once.requestId]);
    }
    expect((await world.everything()).events).toEqual([]);
  },

  async 'forgets a key whose command failed by a fault: it is decided again'(world) {
    const once = newOnce();
    const fault = new TypeError('a fault');
    const fails = world.transact({ once }, () => {
      throw fault;
    });
    await expect(fails).rejects.toBe(fault);
    expect(await world.other({ once }, () => 'now')).toBe('now');
    expect(await world.transact({ once }, () => 'later')).toBe('now');
  },

  async 'refuses a key that comes with another fingerprint'(world) {
    const once = newOnce();
    const account = newAccount();
    await given(world.transact, 'accounts', account);
    await addOne(world.transact, account.customerId, { once });
    for (const handle of pairOf(world)) {
      const other = addOne(handle, account.customerId, { once: { ...once, fingerprint: 'another' } });
      expect(await refusalOf(other)).toEqual({ code: 'idempotency_key_reused' });
    }
    expect(await addOne(world.other, account.customerId, { once })).toBe(1);
    expect((await world.reads.accounts.find(account.customerId))?.balance).toBe(1);
  },

  async 'a key belongs to its subject and its operation'(world) {
    const once = newOnce({ subject: 'a,"b"\\ {c}', key: 'k\'\n"{},\\NULL' });
    const others = [
      once,
      { ...once, subject: 'NULL' },
      { ...once, operation: 'POST /v1/other/{id}' },
      { ...once, key: '' },
      { ...once, key: once.key.toUpperCase() },
    ];
    for (const [i, key] of others.entries()) expect(await world.transact({ once: key }, () => i)).toBe(i);
    for (const [i, key] of others.entries()) expect(await world.other({ once: key }, () => 'again')).toBe(i);
  },

  'one key at once through both handles has one effect and one result': keyServesOnce,

  async 'many keys at once, crossing, each have one effect and one result'(world) {
    const account = newAccount();
    await given(world.transact, 'accounts', account);
    const onces = Array.from({ length: 10 }, () => newOnce());
    const results = await atOnce(pairOf(world), 200, (handle, i) => {
      const at = i % 2 ? 9 - (Math.floor(i / 2) % 10) : Math.floor(i / 2) % 10;
      return addOne(handle, account.customerId, { once: onces[at] }).then((result) => [at, result] as const);
    });
    expect(new Map(results).size).toBe(10);
    expect(new Set(results.map(String)).size).toBe(10);
    expect((await world.reads.accounts.find(account.customerId))?.balance).toBe(10);
  },

  async 'one key at once with two fingerprints: one decides, the other is refused'(world) {
    for (let round = 0; round < 5; round++) {
      const once = newOnce();
      const outcomes = await atOnce(pairOf(world), 20, (handle, i) =>
        refusalOf(handle({ once: { ...once, fingerprint: `of ${i % 2}` } }, () => `of ${i % 2}`)),
      );
      const done = outcomes.filter((outcome) => (outcome as { done?: string }).done);
      expect(new Set(done.map((outcome) => JSON.stringify(outcome))).size).toBe(1);
      expect(done).toHaveLength(10);
      expect(outcomes.filter((outcome) => (outcome as Refusal).code === 'idempotency_key_reused')).toHaveLength(10);
    }
  },

  async 'a key serves anew when its time is over, once'(world) {
    const account = newAccount();
    await given(world.transact, 'accounts', account);
    for (let round = 1; round <= 20; round++) {
      const once = newOnce();
      await addOne(world.transact, account.customerId, { once });
      await world.expire(once);
      // Another fingerprint: what was kept is no longer there to refuse it.
      const again = { ...once, fingerprint: 'another' };
      const results = await atOnce(pairOf(world), 10, (handle) => addOne(handle, account.customerId, { once: again }));
      expect(results).toEqual(Array(10).fill(2 * round));
    }
    expect((await world.reads.accounts.find(account.customerId))?.balance).toBe(40);
  },

  async 'gives a kept result back byte for byte'(world) {
    const results: unknown[] = [
      null,
      true,
      0,
      -1.5,
      1e21,
      5e-324,
      Number.MAX_SAFE_INTEGER,
      '',
      [],
      {},
      [[[]], {}, null],
      { z: 1, a: 2, M: 3, 10: 'ten', 9: 'nine', '': 'empty', 'with "quotes"': '\\' },
      { text: awkwardTexts, nested: { text: awkwardTexts.map((text) => ({ [text]: text })) } },
      { quote: '\u0000\u0001\u001f', escaped: '\\u0000 \\ud800' },
      newOrder(),
    ];
    for (const result of results) {
      const once = newOnce();
      expect(await world.transact({ once }, () => result)).toEqual(result);
      for (const handle of pairOf(world)) {
        const again = await handle({ once }, () => 'decided');
        expect(JSON.stringify(again)).toBe(JSON.stringify(result));
      }
    }
  },

  async 'shares one clock that does not go back'(world) {
    let last = 0;
    for (let i = 0; i < 20; i++) {
      const now = await (i % 2 ? world.transact : world.other)({}, (books) => books.now);
      expect(Number.isSafeInteger(now)).toBe(true);
      expect(now).toBeGreaterThanOrEqual(last);
      last = now;
    }
  },

  async 'keeps customers, logins and sessions exactly as they are'({ transact, other, reads }) {
    for (const text of awkwardTexts) {
      const id = `${text}${newUuid()}`;
      const [email, next] = [`${text}${newUuid()}`, `${text}@`];
      const customer: Customer = { id, email, name: text, createdAt: 1_700_000_000_999 };
      const login: Login = { email, customerId: id, passwordHash: text };
      const session = { id: newUuid(), customerId: id, generation: 1, ended: false, issuedAt: 1, expiresAt: 253_402_300_799_999 };
      const records = { customers: [id], logins: [email], sessions: [session.id] };
      await transact(records, (books) => {
        books.put('customers', customer);
        books.put('logins', login);
        books.put('sessions', session);
      });
      expect(await reads.customers.find(id)).toEqual(customer);
      expect(await reads.customers.login(email)).toEqual(login);
      expect(await reads.customers.session(session.id)).toEqual(session);

      const renewed = { ...session, generation: 2_000_000_000, ended: true, issuedAt: 0, expiresAt: 1_700_000_000_001 };
      await other(records, (books) => {
        books.put('customers', { ...(books.get('customers', id) as Customer), email: null, name: next });
        books.put('logins', { ...(books.get('logins', email) as Login), passwordHash: next });
        books.put('sessions', renewed);
      });
      expect(await read(transact, 'customers', id)).toEqual({ ...customer, email: null, name: next });
      expect(await read(transact, 'logins', email)).toEqual({ ...login, passwordHash: next });
      expect(await read(transact, 'sessions', session.id)).toEqual(renewed);
    }
  },

  async 'keeps carts exactly as they are'({ transact, other, reads }) {
    const customerId = `cart "of" ${newUuid()}`;
    const items = awkwardTexts.map((sku, i) => ({ sku, quantity: i + 1, unitPrice: won(BIG), addedAt: 1_700_000_000_000 + i }));
    for (const cart of [items, [], items.toReversed()].map((of) => ({ customerId, items: of }))) {
      await transact({ carts: [customerId] }, (books) => books.put('carts', cart));
      expect(await read(other, 'carts', customerId)).toEqual(cart);
      expect(await reads.carts.find(customerId)).toEqual(cart);
    }
  },

  async 'keeps products and SKUs exactly as they are'({ transact, other, reads }) {
    for (const text of awkwardTexts) {
      const product = newProduct({ name: text, category: text, lowestPrice: won(BIG) });
      const sku = newSku(product, { sku: `${text}${newUuid()}`, name: text, stock: BIG, position: 49 });
      await transact({ products: [product.id], skus: [sku.sku] }, (books) => {
        books.put('products', product);
        books.put('skus', sku);
      });
      expect(await read(other, 'products', product.id)).toEqual(product);
      expect(await read(other, 'skus', sku.sku)).toEqual(sku);
      expect(await reads.products.skus([sku.sku])).toEqual([sku]);

      const name = `${text}!`;
      const hidden = { ...product, name, category: name, status: 'hidden', lowestPrice: won(1) } as const;
      const changed = { ...sku, productName: name, productStatus: 'hidden', name, price: won(1), stock: 0 } as const;
      await other({ products: [product.id], skus: [sku.sku] }, (books) => {
        books.put('products', hidden);
        books.put('skus', changed);
      });
      expect(await read(transact, 'products', product.id)).toEqual(hidden);
      expect(await read(transact, 'skus', sku.sku)).toEqual(changed);
    }
  },

  async 'keeps orders exactly as they are, lines and payment included'({ transact, other, reads }) {
    const lines = awkwardTexts.map((text, i) => ({
      sku: text,
      productId: newUuid(),
      name: text,
      quantity: (i % 10) + 1,
      unitPrice: won(BIG),
      discount: won(i),
      amount: won(BIG * ((i % 10) + 1) - i),
    }));
    const goodsTotal = won(lines.reduce((sum, { quantity }) => sum + BIG * quantity, 0));
    const discountTotal = won(lines.reduce((sum, { discount }) => sum + discount, 0));
    const total = won(goodsTotal - discountTotal);
    const order = newOrder({ customerId: `"{${newUuid()}`, lines, goodsTotal, discountTotal, total, couponId: newUuid() });
    await given(transact, 'orders', order);
    expect(await read(other, 'orders', order.id)).toEqual(order);
    expect(await reads.orders.find(order.id, order.customerId)).toEqual(order);

    const { id: orderId, customerId } = order;
    const payment = { id: newUuid(), orderId, customerId, method: 'balance', amount: total, paidAt: 1_700_000_000_321 } as const;
    const paid = { ...order, status: 'paid', payment } as const;
    const refunded = { ...paid, status: 'partially_refunded', refundedTotal: won(total - 1) } as const;
    for (const next of [paid, refunded]) {
      await other({ orders: [orderId] }, (books) => books.put('orders', next));
      expect(await read(transact, 'orders', orderId)).toEqual(next);
      expect(await reads.orders.find(orderId, null)).toEqual(next);
    }
    expect(await reads.orders.payment(payment.id, customerId)).toEqual(payment);

    const born = newOrder({ status: 'paid', payment: { ...payment, id: newUuid(), amount: won(3_000) } });
    const bornPaid = { ...born, payment: born.payment && { ...born.payment, orderId: born.id, customerId: born.customerId } };
    await given(transact, 'orders', bornPaid);
    expect(await read(other, 'orders', born.id)).toEqual(bornPaid);
  },

  async 'keeps accounts exactly as they are'({ transact, other, reads }) {
    const account = newAccount({ customerId: `a\\"{},${newUuid()}`, charged: { day: '0000-00-00', inDay: 0, inMonth: 0 } });
    const full = { ...account, balance: won(Number.MAX_SAFE_INTEGER), charged: { day: '2026-12-31', inDay: 3, inMonth: 10 } };
    for (const next of [account, full, { ...full, balance: won(BIG) }]) {
      await transact({ accounts: [account.customerId] }, (books) => books.put('accounts', next));
      expect(await read(other, 'accounts', account.customerId)).toEqual(next);
      expect(await reads.accounts.find(account.customerId)).toEqual(next);
    }
  },

  async 'keeps facts exactly as they are'({ transact, everything }) {
    const transfers = (['charge', 'payment', 'refund'] as const).map((kind) => {
      const customer = accountName(`"${newUuid()}`);
      const sides = kind === 'charge' ? { from: 'cash_in', to: customer } : { from: customer, to: 'revenue' };
      return newTransfer({ kind, amount: won(BIG), balance: won(0), orderId: newUuid(), ...sides } as Partial<Transfer>);
    });
    const adjustments = awkwardTexts.map((text, i) => ({
      id: newUuid(),
      sku: text,
      delta: i % 2 ? -BIG : BIG,
      stock: BIG,
      reason: text,
      by: text,
      createdAt: 1_700_000_000_000 + i,
    }));
    const events = awkwardTexts.map((text) =>
      newEvent({ subject: text, data: { [text]: text, list: [text, null, BIG, { text }] } }),
    );
    await transact({}, (books) => {
      for (const transfer of transfers) books.append('transfers', transfer);
      for (const adjustment of adjustments) books.append('adjustments', adjustment);
      for (const event of events) books.append('events', event);
    });
    const kept = await everything();
    expect(new Set(kept.transfers)).toEqual(new Set(transfers));
    expect(new Set(kept.adjustments)).toEqual(new Set(adjustments));
    expect(kept.events).toEqual(events);
  },
};

/** Every guarantee of `Transact`, on an adapter. */
export const transactContract = (name: string, make: MakeStoreWorld): void =>
  runChecks(`${name}: the contract of Transact`, transactChecks, make);
