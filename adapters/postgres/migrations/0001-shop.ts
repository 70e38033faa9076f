import { type Kysely, sql } from 'kysely';

/**
 * The first storey. What is left out on purpose (docs/adr/0003): no foreign key from order lines to SKUs, nor from orders,
 * accounts and carts to customers: a foreign key takes a share lock on the parent for every child, and on a wanted row that
 * costs 2 to 3 times. The audit counts what they would have guarded.
 */
export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`
    create table customers (
      id          text primary key,
      email       text,
      name        text not null,
      created_at  timestamptz not null
    );
    create table logins (
      email          text primary key,
      customer_id    text not null unique references customers,
      password_hash  text not null
    );
    create table sessions (
      id           uuid primary key,
      customer_id  text not null references customers,
      generation   integer not null check (generation > 0),
      ended        boolean not null,
      issued_at    timestamptz not null,
      expires_at   timestamptz not null
    );

    create table products (
      id            uuid primary key,
      name          text not null,
      category      text not null,
      status        text not null check (status in ('on_sale', 'hidden')),
      lowest_price  bigint not null check (lowest_price > 0),
      created_at    timestamptz not null
    );
    create index products_by_price on products (lowest_price, id);
    create index products_by_name on products (name, id);
    create index products_by_category on products (category, id);

    -- product_name and product_status are the product's, kept here by the command that changes them: an order holds one row.
    create table skus (
      sku             text primary key,
      product_id      uuid not null references products,
      product_name    text not null,
      product_status  text not null check (product_status in ('on_sale', 'hidden')),
      position        integer not null,
      name            text not null,
      price           bigint not null check (price > 0),
      stock           bigint not null constraint stock_not_negative check (stock >= 0)
    ) with (fillfactor = 70);
    create index skus_by_product on skus (product_id);

    create table stock_adjustments (
      id          uuid primary key,
      sku         text not null,
      delta       bigint not null check (delta <> 0),
      stock       bigint not null check (stock >= 0),
      reason      text not null,
      by          text not null,
      created_at  timestamptz not null
    );
    create index stock_adjustments_by_sku on stock_adjustments (sku, id);

    create table carts (
      customer_id  text primary key,
      items        jsonb not null
    ) with (fillfactor = 70);

    create table accounts (
      customer_id       text primary key,
      balance           bigint not null constraint balance_not_negative check (balance >= 0),
      charged_day       text not null,
      charged_in_day    integer not null,
      charged_in_month  integer not null
    ) with (fillfactor = 70);

    -- Both sides of a movement in one row: debit = credit by construction. The shop's accounts are no rows to be held.
    create table transfers (
      id            uuid primary key,
      kind          text not null check (kind in ('charge', 'payment', 'refund')),
      from_account  text not null,
      to_account    text not null,
      amount        bigint not null check (amount > 0),
      balance       bigint not null check (balance >= 0),
      order_id      uuid,
      created_at    timestamptz not null,
      check (from_account <> to_account)
    );
    create index transfers_out on transfers (from_account, id) where from_account not in ('cash_in', 'revenue');
    create index transfers_in on transfers (to_account, id) where to_account not in ('cash_in', 'revenue');
    create function refuse_change() returns trigger language plpgsql as $$
      begin raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation'; end $$;
    create trigger transfers_are_immutable before update or delete or truncate on transfers
      for each statement execute function refuse_change();
    create trigger stock_adjustments_are_immutable before update or delete or truncate on stock_adjustments
      for each statement execute function refuse_change();

    -- The payment stands in the order's own row: that an order is paid at most once is a fact of the schema.
    create table orders (
      id              uuid primary key,
      customer_id     text not null,
      status          text not null,
      goods_total     bigint not null,
      discount_total  bigint not null check (discount_total between 0 and goods_total),
      total           bigint not null check (total = goods_total - discount_total),
      refunded_total  bigint not null check (refunded_total between 0 and total),
      coupon_id       uuid,
      payment_id      uuid unique,
      payment_method  text,
      paid_amount     bigint check (paid_amount = total),
      paid_at         timestamptz,
      created_at      timestamptz not null,
      expires_at      timestamptz not null,
      check (refunded_total = 0 or payment_id is not null),
      check (num_nulls(payment_id, payment_method, paid_amount, paid_at) in (0, 4))
    ) with (fillfactor = 80);
    create index orders_by_customer on orders (customer_id, id);
    create table order_lines (
      order_id    uuid not null references orders,
      position    integer not null,
      sku         text not null,
      product_id  uuid not null,
      name        text not null,
      quantity    integer not null check (quantity > 0),
      unit_price  bigint not null check (unit_price > 0),
      discount    bigint not null check (discount >= 0),
      amount      bigint not null check (amount = unit_price * quantity - discount and amount >= 0),
      primary key (order_id, position)
    );

    create table outbox (
      position     bigint generated always as identity primary key,
      id           uuid not null unique,
      type         text not null,
      subject      text not null,
      data         json not null,
      occurred_at  timestamptz not null
    );

    -- outcome is json, not jsonb: a replay gives the fields back in the order in which they were first answered.
    create table idempotency_keys (
      subject      text not null,
      operation    text not null,
      key          text not null,
      fingerprint  text not null,
      request_id   text not null,
      outcome      json not null,
      created_at   timestamptz not null default now(),
      primary key (subject, operation, key)
    );
    create index idempotency_keys_by_age on idempotency_keys (created_at);

    -- The number of the last batch that each lane committed, held by the lane's transaction from its start: whoever asks for
    -- it waits for a transaction still under way, and so learns what became of a commit whose reply was lost. (Not by
    -- transaction id: after a crash Postgres gives ids that were never flushed to others.)
    create table lanes (
      id       uuid primary key,
      batch    bigint not null,
      seen_at  timestamptz not null
    ) with (fillfactor = 20);

    -- What the service made for itself on its first start, shared by all its processes.
    create table secrets (
      name   text primary key,
      value  text not null
    );
  `.execute(db);
};
