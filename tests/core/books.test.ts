import { describe, expect, test } from 'vitest';
import { memoryStore } from '../../adapters/memory/store.ts';
import { type Account, openAccount, type Transfer } from '../../core/balance/account.ts';
import { type Books, emptyShelves, openBatch, type Remembered } from '../../core/books.ts';
import type { Once } from '../../core/shared/actor.ts';
import { won } from '../../core/shared/money.ts';
import { DomainError, refuse } from '../../core/shared/refusal.ts';

const account = (customerId: string, balance: number): Account => ({ ...openAccount(customerId), balance: won(balance) });
const transfer = (id: string): Transfer => ({
  id,
  kind: 'charge',
  from: 'cash_in',
  to: 'customer:kim',
  amount: won(1_000),
  balance: won(1_000),
  orderId: null,
  createdAt: 0,
});
const once: Once = { subject: 'kim', operation: 'POST /v1/things', key: '1', fingerprint: 'a', requestId: 'the first' };

/** A batch on books that hold these accounts. */
const batchOn = (...accounts: Account[]) => {
  const records = emptyShelves();
  for (const known of accounts) records.accounts.set(known.customerId, known);
  const remembered = new Map<string, Remembered>();
  return { ...openBatch({ now: 7, records, remembered }), records, remembered };
};
const kimsBooks = { accounts: ['kim'] };
const put = (balance: number) => (books: Books) => books.put('accounts', account('kim', balance));

describe('a decision', () => {
  test('sees what it named, what it wrote itself, and the moment', () => {
    const { decide } = batchOn(account('kim', 1));
    const seen = decide({ accounts: ['kim', 'lee'] }, (books) => {
      const before = [books.get('accounts', 'kim')?.balance, books.get('accounts', 'lee')];
      put(2)(books);
      return [...before, books.get('accounts', 'kim')?.balance, books.now];
    });
    expect(seen).toEqual([1, undefined, 2, 7]);
  });

  test.each<readonly [string, (books: Books) => unknown]>([
    ['reads', (books) => books.get('accounts', 'lee')],
    ['reads, of another kind,', (books) => books.get('carts', 'kim')],
    ['writes', (books) => books.put('accounts', account('lee', 1))],
    ['writes, of another kind,', (books) => books.put('carts', { customerId: 'kim', items: [] })],
  ])('that %s what its scope does not name is a fault, and changes nothing', (_, wrong) => {
    const { decide, changes } = batchOn(account('kim', 1), account('lee', 1));
    const work = (books: Books) => {
      put(2)(books);
      wrong(books);
    };
    expect(() => decide(kimsBooks, work)).toThrow('the scope does not name');
    expect(changes().none).toBe(true);
  });

  test('that creates what is there is a fault, also when the same batch created it', () => {
    const { decide } = batchOn(account('kim', 1));
    const create = (id: string) => decide({}, (books) => books.create('accounts', account(id, 5)));
    expect(() => create('kim')).toThrow('not new');
    create('lee');
    expect(() => create('lee')).toThrow('not new');
  });
});

describe('the changes of a batch', () => {
  test('tell the new from the changed, with what was loaded and what is left in the end', () => {
    const kim = account('kim', 1);
    const { decide, changes } = batchOn(kim);
    decide(kimsBooks, put(2));
    decide(kimsBooks, put(3));
    decide({ accounts: ['lee'] }, (books) => books.put('accounts', account('lee', 4)));
    decide({}, (books) => books.create('accounts', account('new', 5)));
    decide({ accounts: ['lee'] }, (books) => books.put('accounts', account('lee', 6)));
    expect(changes().records.accounts).toEqual({
      created: [account('lee', 6), account('new', 5)],
      updated: [{ before: kim, after: account('kim', 3) }],
    });
    expect(changes().none).toBe(false);
  });

  test('keep facts in the order in which they were decided', () => {
    const { decide, changes } = batchOn();
    for (const id of ['a', 'b']) decide({}, (books) => books.append('transfers', transfer(id)));
    expect(changes().facts.transfers.map(({ id }) => id)).toEqual(['a', 'b']);
  });

  test('are none when nothing was written', () => {
    const { decide, changes } = batchOn(account('kim', 1));
    decide(kimsBooks, (books) => books.get('accounts', 'kim'));
    expect(changes().none).toBe(true);
  });
});

describe('a decision that throws', () => {
  /** Writes all it can, then throws. */
  const failing = (books: Books) => {
    put(50)(books);
    put(60)(books);
    books.put('accounts', account('lee', 70));
    books.create('accounts', account('new', 80));
    books.create('carts', { customerId: 'kim', items: [] });
    books.append('transfers', transfer('lost'));
    books.append('transfers', transfer('lost too'));
    throw new Error('no');
  };
  const scope = { accounts: ['kim', 'lee'] };

  test('leaves nothing', () => {
    const kim = account('kim', 1);
    const { decide, changes, records } = batchOn(kim);
    expect(() => decide(scope, failing)).toThrow('no');
    expect(records).toEqual({ ...emptyShelves(), accounts: new Map([['kim', kim]]) });
    expect(changes().none).toBe(true);
  });

  test('leaves what commands before it changed in the same records', () => {
    const kim = account('kim', 1);
    const { decide, changes, records } = batchOn(kim);
    const change = (books: Books) => {
      put(2)(books);
      books.put('accounts', account('lee', 3));
      books.append('transfers', transfer('kept'));
    };
    decide(scope, change);
    expect(() => decide(scope, failing)).toThrow('no');
    expect([...records.accounts.values()]).toEqual([account('kim', 2), account('lee', 3)]);
    expect(changes().records.accounts).toEqual({
      created: [account('lee', 3)],
      updated: [{ before: kim, after: account('kim', 2) }],
    });
    expect(changes().facts.transfers).toEqual([transfer('kept')]);
  });

  test('does not disturb those after it', () => {
    const kim = account('kim', 1);
    const { decide, changes } = batchOn(kim);
    expect(() => decide(scope, failing)).toThrow('no');
    decide(scope, (books) => {
      put((books.get('accounts', 'kim')?.balance ?? 0) + 1)(books);
      books.create('accounts', account('new', 9));
    });
    expect(changes().records.accounts).toEqual({
      created: [account('new', 9)],
      updated: [{ before: kim, after: account('kim', 2) }],
    });
    expect(changes().facts.transfers).toEqual([]);
  });
});

describe('an idempotency key in a batch', () => {
  test('decides once, also for its twin in the same batch', () => {
    const { decide, changes } = batchOn(account('kim', 1));
    let decided = 0;
    const command = (books: Books) => {
      put(2)(books);
      return { decided: ++decided };
    };
    expect(decide({ ...kimsBooks, once }, command)).toEqual({ decided: 1 });
    expect(decide({ ...kimsBooks, once: { ...once, requestId: 'the second' } }, command)).toEqual({ decided: 1 });
    expect(changes().remembered).toEqual([{ once, outcome: { done: { decided: 1 } } }]);
  });

  test('keeps a refusal, and nothing else of a refused command', () => {
    const { decide, changes, records } = batchOn(account('kim', 1));
    const scope = { ...kimsBooks, once };
    const refused = (books: Books) => {
      put(2)(books);
      books.append('transfers', transfer('lost'));
      refuse({ code: 'forbidden' });
    };
    expect(() => decide(scope, refused)).toThrow(new DomainError({ code: 'forbidden' }));
    const again = () => decide({ ...scope, once: { ...once, requestId: 'the second' } }, put(3));
    expect(again).toThrow(expect.objectContaining({ refusal: { code: 'forbidden' }, decidedFor: 'the first' }));
    expect(records.accounts.get('kim')).toEqual(account('kim', 1));
    expect(changes()).toMatchObject({
      none: false,
      facts: { transfers: [] },
      remembered: [{ once, outcome: { refused: { code: 'forbidden' } } }],
    });
  });

  test('keeps no fault: the command may be sent again', () => {
    const { decide, changes } = batchOn();
    const scope = { once };
    const fault = () => {
      throw new Error('broken');
    };
    expect(() => decide(scope, fault)).toThrow('broken');
    expect(changes().none).toBe(true);
    expect(decide(scope, () => 'done')).toBe('done');
  });

  test.each([
    ['an answer', () => 'done'],
    ['a refusal', () => refuse({ code: 'forbidden' })],
  ])('of %s is refused for another request', (_, command) => {
    const { decide, changes } = batchOn();
    try {
      decide({ once }, command);
    } catch {}
    const other = () => decide({ once: { ...once, fingerprint: 'b' } }, () => 'other');
    expect(other).toThrow(new DomainError({ code: 'idempotency_key_reused' }));
    expect(changes().remembered).toHaveLength(1);
  });

  test.each([{ subject: 'lee' }, { operation: 'POST /v1/others' }, { key: '2' }])('is another key with %o', (changed) => {
    const { decide } = batchOn();
    expect(decide({ once }, () => 1)).toBe(1);
    expect(decide({ once: { ...once, ...changed, fingerprint: 'b' } }, () => 2)).toBe(2);
  });

  test('that was used in an earlier batch gives its answer and changes nothing', () => {
    const records = emptyShelves();
    const known: Remembered = { once, outcome: { done: 'then' } };
    const remembered = new Map([['kim\nPOST /v1/things\n1', known]]);
    const { decide, changes } = openBatch({ now: 7, records, remembered });
    expect(decide({ ...kimsBooks, once }, put(2) as () => unknown)).toBe('then');
    expect(changes().none).toBe(true);
  });
});

test('the memory store keeps nothing of a refused command but the refusal', async () => {
  const store = memoryStore({ now: () => 7 });
  const command = store.transact({ ...kimsBooks, once }, (books) => {
    put(2)(books);
    books.append('transfers', transfer('lost'));
    refuse({ code: 'forbidden' });
  });
  await expect(command).rejects.toThrow('forbidden');
  expect(await store.accounts.find('kim')).toBeNull();
  expect(store.facts.transfers).toEqual([]);
});
