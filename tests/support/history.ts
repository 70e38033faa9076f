import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import pg from 'pg';
import { violationsOf } from './invariants.ts';
import type { Answer, Json } from './service.ts';

/** What a client asked, and what it learned. Times are of the one clock that all clients of a test share. */
export interface Operation {
  /** Who asked: the customer. */
  readonly proc: string;
  readonly op: 'charge' | 'order' | 'payment' | 'read';
  /** The idempotency key: asked again with it, it is the same command. */
  readonly key: string;
  /** charge: {amount}; order: {sku: quantity}; payment: {orderId}; read: {sku}. */
  readonly args: Json;
  readonly t0: number;
  readonly t1: number;
  /** fail: refused, and so it stays. unknown: no answer, or one that does not tell. */
  readonly type: 'ok' | 'fail' | 'unknown';
  /** The body of the answer; for a read the stock. */
  readonly value: Json;
}

/** What stands in the database: what was done, and the idempotency keys that it is remembered under. */
export interface Effect {
  readonly proc: string;
  readonly op: 'charge' | 'order' | 'payment';
  readonly id: string;
  readonly args: Json;
  readonly keys: readonly string[];
}

/** An answer that says "not now" decides nothing: the command may run when it is asked again. */
const NOT_NOW = ['idempotency_key_in_use', 'busy', 'rate_limited'];

export const typeOf = ({ status, body }: Answer): Operation['type'] => {
  if (status < 400) return 'ok';
  return status >= 500 || NOT_NOW.includes(body?.code) ? 'unknown' : 'fail';
};

export const startHistory = () => {
  const history: Operation[] = [];
  const ask = async (
    what: Pick<Operation, 'proc' | 'op' | 'args'>,
    key: string,
    call: () => Promise<Answer>,
  ): Promise<Operation> => {
    const t0 = performance.now();
    const [type, value] = await call().then(
      (answer) => [typeOf(answer), answer.body] as const,
      (error: unknown) => ['unknown' as const, String(error)] as const,
    );
    const operation = { ...what, key, t0, t1: performance.now(), type, value };
    history.push(operation);
    return operation;
  };
  return {
    history,
    ask,
    /** Asks with one key until it is known what became of it; `ready` is awaited before each time. */
    async resolve(
      what: Pick<Operation, 'proc' | 'op' | 'args'>,
      ready: () => Promise<unknown>,
      call: (key: string) => Promise<Answer>,
    ): Promise<Operation> {
      const key = randomUUID();
      for (;;) {
        await ready();
        const operation = await ask(what, key, () => call(key));
        if (operation.type !== 'unknown') return operation;
      }
    },
  };
};

/**
 * What the history and the database say against each other. A sound pair gives an empty list.
 *
 * ok ⇒ there, once, as asked; fail ⇒ not there; unknown ⇒ either, and resolved by its key in the end; the same key ⇒ the same
 * answer; nothing there that nobody asked for; not more sold than `stocked`; a stock that was read is one that there was
 * at that time (when nothing is restocked).
 */
export const contradictions = (
  history: readonly Operation[],
  effects: readonly Effect[],
  stocked: { readonly [sku: string]: number },
): string[] => {
  const name = ({ proc, op }: { proc: string; op: string }, key: string) => `${op} of ${proc} with key ${key}`;
  const commands = Map.groupBy(
    history.filter(({ op }) => op !== 'read'),
    (asked) => name(asked, asked.key),
  );
  const asThere = Map.groupBy(effects, ({ op, id }) => `${op} ${id}`);
  const remembered = Map.groupBy(
    effects.flatMap((effect) => effect.keys.map((key) => ({ effect, name: name(effect, key) }))),
    (entry) => entry.name,
  );

  const wrong: string[] = [];
  for (const [command, asked] of commands) {
    const ok = asked.filter(({ type }) => type === 'ok');
    const fail = asked.filter(({ type }) => type === 'fail');
    const done = remembered.get(command) ?? [];
    if (done.length > 1) wrong.push(`executed ${done.length} times: ${command}`);
    if (fail.length > 0 && done.length > 0) wrong.push(`refused, but there: ${command}`);
    if (ok.length > 0 && fail.length > 0) wrong.push(`answered yes and no: ${command}`);
    if (new Set([...ok, ...fail].map(({ value }) => JSON.stringify(value))).size > 1) wrong.push(`answered twofold: ${command}`);
    if (ok.length + fail.length === 0) wrong.push(`unresolved: ${command}`);
    for (const { op, args, value } of ok.slice(0, 1)) {
      const there = asThere.get(`${op} ${value.id}`) ?? [];
      if (there.length === 0) wrong.push(`acknowledged, but lost: ${command}`);
      if (there.length > 1) wrong.push(`there ${there.length} times: ${command}`);
      if (there[0] && !isDeepStrictEqual(there[0].args, args)) wrong.push(`not what was asked for: ${command}`);
    }
  }
  for (const effect of effects) {
    if (!effect.keys.some((key) => commands.has(name(effect, key)))) {
      wrong.push(`there, but never asked for, or once more: ${effect.op} ${effect.id} of ${effect.proc}`);
    }
  }

  const orders = history.filter(({ op }) => op === 'order');
  for (const [sku, pieces] of Object.entries(stocked)) {
    const quantity = (order: { readonly args: Json }): number => order.args[sku] ?? 0;
    const sum = (some: readonly { readonly args: Json }[]) => some.reduce((total, order) => total + quantity(order), 0);
    const sold = sum(effects.filter(({ op }) => op === 'order'));
    if (sold > pieces) wrong.push(`oversold: ${sold} of ${pieces} ${sku}`);
    for (const { t0, t1, value } of history.filter(({ op, args, type }) => op === 'read' && type === 'ok' && args.sku === sku)) {
      const before = orders.filter((order) => order.type === 'ok' && order.t1 < t0);
      const begun = orders.filter((order) => order.t0 < t1);
      const keysOf = (some: readonly Operation[]) => [...new Map(some.map((order) => [name(order, order.key), order])).values()];
      if (value > pieces - sum(keysOf(before))) wrong.push(`stale: read ${value} ${sku} after more had been sold`);
      if (value < pieces - sum(keysOf(begun))) wrong.push(`too low: read ${value} ${sku} before so many were ordered`);
    }
  }
  return wrong;
};

/** One statement on a connection of its own; numbers come as JSON has them when the statement makes JSON. */
export const query = async (databaseUrl: string, sql: string): Promise<Json[]> => {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
};

const doneUnder = (operation: string, proc: string, id: string) => `array(select key from idempotency_keys
  where operation = 'POST ${operation}' and subject = ${proc} and ${id}::text in (outcome->'done'->>'id', outcome->'done'->'payment'->>'id'))`;

/** What the database says was done. */
export const effectsIn = async (databaseUrl: string): Promise<Effect[]> => {
  const rows = await query(
    databaseUrl,
    `select substr(to_account, 10) as proc, 'charge' as op, id, json_build_object('amount', amount) as args,
       ${doneUnder('/v1/balance/charges', 'substr(to_account, 10)', 'id')} as keys
     from transfers where kind = 'charge'
     union all
     select customer_id, 'order', id, (select json_object_agg(sku, quantity) from order_lines where order_id = orders.id),
       ${doneUnder('/v1/orders', 'customer_id', 'id')}
     from orders
     union all
     select customer_id, 'payment', payment_id, json_build_object('orderId', id),
       ${doneUnder('/v1/orders/:id/payment', 'customer_id', 'payment_id')}
     from orders where payment_id is not null and cardinality(${doneUnder('/v1/orders', 'customer_id', 'payment_id')}) = 0`,
  );
  return rows;
};

const held = `select sku, sum(quantity) as pieces from order_lines join orders on orders.id = order_id
  where status not in ('cancelled', 'expired', 'refunded') group by sku`;
const moved = `select account, sum(amount) as won from (select to_account as account, amount from transfers
  union all select from_account, -amount from transfers) as sides group by account`;
const count = (type: string) => `(select count(*) from outbox where type = '${type}' and subject = orders.id::text)`;

/** Rule → the statement that finds what breaks it. */
const rules: { readonly [rule: string]: string } = {
  'stock is never below zero': `select sku from skus where stock < 0`,
  'stocked = on hand + held by live orders': `select coalesce(skus.sku, held.sku)
    from skus full join (${held}) as held using (sku)
    where coalesce((select sum(delta) from stock_adjustments as a where a.sku = coalesce(skus.sku, held.sku)), 0)
      is distinct from skus.stock + coalesce(held.pieces, 0)`,
  'balance is never below zero': `select customer_id from accounts where balance < 0`,
  'balance = the sum of its transfers': `select coalesce(account, customer_id)
    from (select 'customer:' || customer_id as account, customer_id, balance from accounts) as accounts
    full join (select * from (${moved}) as moved where account like 'customer:%') as moved using (account)
    where coalesce(balance, 0) <> coalesce(won, 0)`,
  'all accounts together are zero': `select sums from (select (select coalesce(sum(balance), 0) from accounts)
    + (select coalesce(sum(won), 0) from (${moved}) as moved where account in ('cash_in', 'revenue')) as sums) as sums where sums <> 0`,
  'an order is paid at most once': `select order_id from transfers where kind = 'payment' group by order_id having count(*) > 1`,
  'payment transfers = paid orders': `select coalesce(orders.id, t.order_id)
    from (select * from orders where payment_id is not null) as orders
    full join (select * from transfers where kind = 'payment') as t on t.order_id = orders.id
    where (orders.paid_amount, 'customer:' || orders.customer_id, 'revenue') is distinct from (t.amount, t.from_account, t.to_account)`,
  'an order is the sum of its lines': `select id from orders
    where goods_total is distinct from (select sum(quantity * unit_price) from order_lines where order_id = orders.id)
      or discount_total is distinct from (select sum(discount) from order_lines where order_id = orders.id)`,
  'one event for each order, one for each payment': `select id from orders
    where ${count('order.placed')} <> 1 or ${count('order.paid')} <> (payment_id is not null)::int`,
};

const books = `select json_build_object(
  'skus', (select coalesce(json_agg(json_build_object('sku', sku, 'stock', stock)), '[]') from skus),
  'adjustments', (select coalesce(json_agg(json_build_object('sku', sku, 'delta', delta)), '[]') from stock_adjustments),
  'accounts', (select coalesce(json_agg(json_build_object('customerId', customer_id, 'balance', balance)), '[]') from accounts),
  'transfers', (select coalesce(json_agg(json_build_object('id', id, 'kind', kind, 'from', from_account, 'to', to_account,
    'amount', amount, 'orderId', order_id)), '[]') from transfers),
  'orders', (select coalesce(json_agg(json_build_object('id', id, 'customerId', customer_id, 'status', status,
    'goodsTotal', goods_total, 'discountTotal', discount_total, 'total', total, 'refundedTotal', refunded_total,
    'couponId', coupon_id, 'payment', case when payment_id is not null then json_build_object('id', payment_id, 'orderId', id,
      'customerId', customer_id, 'method', payment_method, 'amount', paid_amount) end,
    'lines', (select json_agg(json_build_object('sku', sku, 'productId', product_id, 'name', name, 'quantity', quantity,
      'unitPrice', unit_price, 'discount', discount, 'amount', amount)) from order_lines where order_id = orders.id)
    )), '[]') from orders)) as books`;

/** What does not hold in the database, said twice: by SQL, and by the rules that the unit tests use. Each is one snapshot. */
export const audit = (databaseUrl: string): Promise<string[]> => auditWith((sql) => query(databaseUrl, sql));

export const auditWith = async (run: (sql: string) => Promise<Json[]>): Promise<string[]> => {
  const parts = Object.entries(rules).map(
    ([rule, sql]) => `select '${rule}' as rule, broken.subject::text from (${sql}) as broken (subject)`,
  );
  const broken = await run(parts.join(' union all '));
  const [snapshot] = await run(books);
  return [
    ...broken.map(({ rule, subject }) => `${rule}: ${subject}`),
    ...violationsOf(snapshot.books).map(({ rule, subject, says }) => `${rule}: ${subject}: ${says}`),
  ];
};
