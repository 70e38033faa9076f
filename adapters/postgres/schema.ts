import type { CartItem } from '../../core/cart/cart.ts';
import type { Instant } from '../../core/shared/time.ts';

/** The tables that reads ask, as connection.ts parses them: bigint is a safe number, timestamptz an Instant. */
export interface Database {
  customers: { id: string; email: string | null; name: string; created_at: Instant };
  logins: { email: string; customer_id: string; password_hash: string };
  sessions: { id: string; customer_id: string; generation: number; ended: boolean; issued_at: Instant; expires_at: Instant };
  carts: { customer_id: string; items: CartItem[] };
  accounts: { customer_id: string; balance: number; charged_day: string; charged_in_day: number; charged_in_month: number };
  products: { id: string; name: string; category: string; status: string; lowest_price: number; created_at: Instant };
  skus: {
    sku: string;
    product_id: string;
    product_name: string;
    product_status: string;
    position: number;
    name: string;
    price: number;
    stock: number;
  };
  orders: {
    id: string;
    customer_id: string;
    status: string;
    goods_total: number;
    discount_total: number;
    total: number;
    refunded_total: number;
    coupon_id: string | null;
    payment_id: string | null;
    payment_method: string | null;
    paid_amount: number | null;
    paid_at: Instant | null;
    created_at: Instant;
    expires_at: Instant;
  };
  transfers: {
    id: string;
    kind: 'charge' | 'payment' | 'refund';
    from_account: string;
    to_account: string;
    amount: number;
    balance: number;
    order_id: string | null;
    created_at: Instant;
  };
  idempotency_keys: { subject: string; operation: string; key: string; created_at: Instant };
  secrets: { name: string; value: string };
}
