-- The same order, placed and paid statement by statement, as a careful service without batching would do it (pgbench).
\set customer random(1, 200)
begin;
select balance from accounts where customer_id = 'bench-' || :customer for no key update;
select price, stock from skus where sku = 'BENCH-HOT' for no key update;
update skus set stock = stock - 1 where sku = 'BENCH-HOT' and stock >= 1;
update accounts set balance = balance - 1 where customer_id = 'bench-' || :customer and balance >= 1 returning balance \gset
select gen_random_uuid() as id \gset
insert into orders (id, customer_id, status, goods_total, discount_total, total, refunded_total, payment_id, payment_method, paid_amount, paid_at, created_at, expires_at)
  values (:id, 'bench-' || :customer, 'paid', 1, 0, 1, 0, gen_random_uuid(), 'balance', 1, now(), now(), now());
insert into order_lines (order_id, position, sku, product_id, name, quantity, unit_price, discount, amount)
  values (:id, 0, 'BENCH-HOT', (select product_id from skus where sku = 'BENCH-HOT'), 'Hot', 1, 1, 0, 1);
insert into transfers (id, kind, from_account, to_account, amount, balance, order_id, created_at)
  values (gen_random_uuid(), 'payment', concat('customer', chr(58), 'bench-', cast(:customer as text)), 'revenue', 1, cast(:balance as bigint), :id, now());
insert into outbox (id, type, subject, data, occurred_at)
  values (gen_random_uuid(), 'order.placed', cast(:id as text), json '{"orderId": 1}', now()), (gen_random_uuid(), 'order.paid', cast(:id as text), json '{"orderId": 1}', now());
insert into idempotency_keys (subject, operation, key, fingerprint, request_id, outcome)
  values ('bench-' || :customer, 'POST /v1/orders', cast(:id as text), 'f', 'r', '{"done": {}}');
commit;
