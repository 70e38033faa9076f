import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { audit, auditWith, contradictions, type Effect, effectsIn, type Operation, startHistory } from '../support/history.ts';
import { freshDatabase } from '../support/servers.ts';
import { type Client, connect, expected, mintToken, startService } from '../support/service.ts';

const ask = (key: string, t0: number, more: Partial<Operation> = {}): Operation => ({
  proc: 'mina',
  op: 'order',
  key,
  args: { MUG: 1 },
  t0,
  t1: t0 + 1,
  type: 'ok',
  value: { id: `order-${key}` },
  ...more,
});
const there = (key: string, more: Partial<Effect> = {}): Effect => ({
  proc: 'mina',
  op: 'order',
  id: `order-${key}`,
  args: { MUG: 1 },
  keys: [key],
  ...more,
});
const lost = { type: 'unknown', value: 'Error: no answer' } as const;
const refused = { type: 'fail', value: { code: 'insufficient_stock' } } as const;
const read = (t0: number, stock: number) => ask('', t0, { op: 'read', args: { sku: 'MUG' }, value: stock });

describe('the history checker', () => {
  const soundHistories: [string, Operation[], Effect[]][] = [
    ['one order', [ask('a', 0)], [there('a')]],
    ['a lost reply, then the same answer', [ask('a', 0, lost), ask('a', 5)], [there('a')]],
    ['a lost reply to what was never done, then a refusal', [ask('a', 0, lost), ask('a', 5, refused)], []],
    ['a refusal, replayed', [ask('a', 0, refused), ask('a', 5, refused)], []],
    ['stock read before, during and after', [read(0, 2), ask('a', 3), read(3.5, 2), read(3.5, 1), read(5, 1)], [there('a')]],
  ];
  test.each(soundHistories)('passes %s', (_, history, effects) => {
    expect(contradictions(history, effects, { MUG: 2 })).toEqual([]);
  });

  const badHistories: [string, string, Operation[], Effect[]][] = [
    ['an acknowledged order that is not there', 'acknowledged, but lost', [ask('a', 0)], []],
    ['an order that is there twice', 'there 2 times', [ask('a', 0)], [there('a'), there('a')]],
    ['a key that was executed twice', 'executed 2 times', [ask('a', 0)], [there('a'), there('a', { id: 'b' })]],
    [
      'a second effect under no key',
      'never asked for, or once more',
      [ask('a', 0)],
      [there('a'), there('a', { id: 'b', keys: [] })],
    ],
    ['an effect of somebody who asked nothing', 'never asked for', [ask('a', 0)], [there('a'), there('b', { proc: 'jun' })]],
    ['a refused order that is there', 'refused, but there', [ask('a', 0, refused)], [there('a')]],
    ['another quantity than was asked for', 'not what was asked for', [ask('a', 0)], [there('a', { args: { MUG: 2 } })]],
    ['two answers to one key', 'answered twofold', [ask('a', 0), ask('a', 5, { value: { id: 'b' } })], [there('a')]],
    ['yes, then no to one key', 'answered yes and no', [ask('a', 0), ask('a', 5, refused)], [there('a')]],
    ['an unknown that nobody resolved', 'unresolved', [ask('a', 0, lost)], []],
    [
      'more sold than there was',
      'oversold: 3 of 2 MUG',
      ['a', 'b', 'c'].map((key, i) => ask(key, i)),
      ['a', 'b', 'c'].map((key) => there(key)),
    ],
    ['a stock as it was before an acknowledged order', 'stale', [ask('a', 0), read(5, 2)], [there('a')]],
    ['a stock that misses pieces nobody asked for yet', 'too low', [read(0, 1), ask('a', 5)], [there('a')]],
  ];
  test.each(badHistories)('finds %s', (_, says, history, effects) => {
    expect(contradictions(history, effects, { MUG: 2 })).toContainEqual(expect.stringContaining(says));
  });
});

describe('the audit', () => {
  let database: Awaited<ReturnType<typeof freshDatabase>>;
  let mina: Client;
  const secret = 'a-secret-for-tests-of-32-characters-and-more';
  const operatorKey = 'fc_operator_key-for-tests-0123456789';
  const { history, ask: say } = startHistory();

  beforeAll(async () => {
    database = await freshDatabase(inject('databaseUrl'));
    const { url } = await startService({ DATABASE_URL: database.url, JWT_SECRET: secret, OPERATOR_API_KEY: operatorKey });
    await expected(connect(url, operatorKey).product('MUG', 1_000, 10));
    mina = connect(url, await mintToken(secret, 'mina'));
    await say({ proc: 'mina', op: 'charge', args: { amount: 10_000 } }, 'charge', () => mina.charge(10_000, 'charge'));
    for (const pay of [true, false, false]) {
      const key = randomUUID();
      await say({ proc: 'mina', op: 'order', args: { MUG: 2 } }, key, () => mina.order({ MUG: 2 }, { pay, key }));
    }
    const orderId = history.at(-1)?.value.id;
    await say({ proc: 'mina', op: 'payment', args: { orderId } }, 'pay', () => mina.pay(orderId, 'pay'));
    await say({ proc: 'mina', op: 'order', args: { MUG: 9 } }, 'all', () => mina.order({ MUG: 9 }, { key: 'all' }));
  });
  afterAll(() => database.drop());

  test('finds nothing in what the service wrote, and the history agrees with it', async () => {
    expect(history.map(({ type }) => type)).toEqual(['ok', 'ok', 'ok', 'ok', 'ok', 'fail']);
    expect(await audit(database.url)).toEqual([]);
    const effects = await effectsIn(database.url);
    expect(effects.map(({ op }) => op).sort()).toEqual(['charge', 'order', 'order', 'order', 'payment']);
    expect(contradictions(history, effects, { MUG: 10 })).toEqual([]);
  });

  const transfer = (kind: string, from: string, to: string, amount: string, orderId = 'null') =>
    `insert into transfers select gen_random_uuid(), '${kind}', ${from}, ${to}, ${amount}, 0, ${orderId}, now()`;
  const seeded: [string, string, string][] = [
    [
      'stock below zero',
      `alter table skus drop constraint stock_not_negative; update skus set stock = -1`,
      'stock is never below zero',
    ],
    ['a piece too many', `update skus set stock = stock + 1`, 'stocked = on hand + held'],
    [
      'an order that takes no stock',
      `update order_lines set quantity = quantity + 1, amount = amount + unit_price`,
      'stocked = on hand',
    ],
    [
      'a cancelled order that keeps its stock',
      `update orders set status = 'cancelled' where payment_id is null`,
      'stocked = on hand + held',
    ],
    [
      'a balance below zero',
      `alter table accounts drop constraint balance_not_negative; update accounts set balance = -1`,
      'balance is never below zero',
    ],
    ['a balance that is not its transfers', `update accounts set balance = balance + 1`, 'balance = the sum of its transfers'],
    ['money out of nothing', `update accounts set balance = balance + 1`, 'all accounts together are zero'],
    [
      'transfers of nobody',
      transfer('charge', `'cash_in'`, `'customer:jun'`, '5'),
      'balance = the sum of its transfers: customer:jun',
    ],
    [
      'an order paid twice',
      `${transfer('payment', 'from_account', `'revenue'`, 'amount', 'order_id')} from transfers where kind = 'payment'`,
      'paid at most once',
    ],
    [
      'a payment for no order',
      transfer('payment', `'customer:mina'`, `'revenue'`, '1', 'gen_random_uuid()'),
      'payment transfers = paid orders',
    ],
    [
      'a paid order without its payment',
      `update orders set payment_id = gen_random_uuid(), payment_method = 'balance', paid_amount = total, paid_at = now(), status = 'paid' where payment_id is null`,
      'payment transfers = paid orders',
    ],
    [
      'a total that is not its lines',
      `update orders set goods_total = goods_total + 1, total = total + 1, paid_amount = paid_amount + 1`,
      'the sum of its lines',
    ],
    ['an order without its event', `delete from outbox where type = 'order.placed'`, 'one event for each order'],
    [
      'an order paid with two events',
      `insert into outbox (id, type, subject, data, occurred_at) select gen_random_uuid(), type, subject, data, now() from outbox where type = 'order.paid'`,
      'one event for each order',
    ],
  ];
  test.each(seeded)('finds %s', async (_, bug, says) => {
    expect(await audited(bug)).toContainEqual(expect.stringContaining(says));
  });

  /** The audit with the bug in the database, which is then taken back. */
  const audited = async (bug: string): Promise<string[]> => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      await client.query(`begin; ${bug}`);
      return await auditWith(async (sql) => (await client.query(sql)).rows);
    } finally {
      await client.end();
    }
  };
});
