import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { MAX_ORDER_LINES, type Order, orderStatuses, type Quote } from '../../core/order/order.ts';
import type { Basket, WithCoupon } from '../../core/order/place-order.ts';
import type { Payment } from '../../core/payment/payment.ts';
import type { Shop } from '../../core/shop.ts';
import { callerOf } from './idempotency.ts';
import { HttpProblem } from './problem.ts';
import { id, idParams, instant, orderQuantity, pageOf, pageOnWire, pageQuery, pageRequest, sku, time, won } from './schemas.ts';

const lines = z.array(
  z.object({ sku: z.string(), name: z.string(), quantity: z.int(), unitPrice: won, discount: won, amount: won }),
);
const quote = z.object({ lines, goodsTotal: won, discountTotal: won, total: won }).meta({ id: 'Quote' });
const payment = z
  .object({ id: z.uuid(), orderId: z.uuid(), method: z.literal('balance'), amount: won, paidAt: instant })
  .meta({ id: 'Payment' });
const status = z.enum(orderStatuses);
const order = z
  .object({
    id: z.uuid(),
    status,
    lines,
    goodsTotal: won,
    discountTotal: won,
    total: won,
    refundedTotal: won,
    couponId: z.uuid().nullable(),
    payment: payment.nullable(),
    createdAt: instant,
    expiresAt: instant.meta({ description: 'Unpaid beyond this moment it can no longer be paid.' }),
  })
  .meta({ id: 'Order' });

const linesOnWire = (quoted: Quote['lines']) => quoted.map(({ productId, ...line }) => line);
const paymentOnWire = ({ id, orderId, method, amount, paidAt }: Payment) => ({
  id,
  orderId,
  method,
  amount,
  paidAt: time(paidAt),
});
const orderOnWire = ({ customerId, ...placed }: Order) => ({
  ...placed,
  lines: linesOnWire(placed.lines),
  payment: placed.payment && paymentOnWire(placed.payment),
  createdAt: time(placed.createdAt),
  expiresAt: time(placed.expiresAt),
});

const basket = {
  items: z
    .array(z.strictObject({ sku, quantity: orderQuantity }))
    .min(1)
    .max(MAX_ORDER_LINES)
    .optional(),
  fromCart: z.literal(true).optional(),
  couponId: id.nullish(),
};
const basketOf = ({ items, fromCart, couponId }: z.output<z.ZodObject<typeof basket>>): Basket & WithCoupon => {
  if ((items === undefined) === (fromCart === undefined)) {
    throw new HttpProblem('validation_failed', { errors: [{ path: 'items', message: 'send either items or fromCart' }] });
  }
  return { ...(items ? { items } : { fromCart: true as const }), couponId: couponId ?? undefined };
};

export const orderRoutes =
  (shop: Shop): FastifyPluginAsyncZod =>
  async (app) => {
    const tags = ['Orders'];
    app.post(
      '/v1/orders/quotes',
      {
        config: { caller: 'customer' },
        schema: {
          tags,
          summary: 'What an order would cost now',
          description: 'Reserves nothing.',
          body: z.strictObject(basket),
          response: { 201: quote },
        },
      },
      async (request, reply) => {
        const quoted = await shop.orders.quote(callerOf(request), basketOf(request.body));
        return reply.code(201).send({ ...quoted, lines: linesOnWire(quoted.lines) });
      },
    );
    app.post(
      '/v1/orders',
      {
        config: { caller: 'customer' },
        schema: {
          tags,
          summary: 'Place an order',
          description: 'Takes the stock of every line or of none. `pay` places and pays in one commit: both or neither.',
          body: z.strictObject({ ...basket, pay: z.literal('balance').optional() }),
          response: { 201: order },
        },
      },
      async (request, reply) => {
        const { pay, ...asked } = request.body;
        const placed = await shop.orders.place(callerOf(request), { ...basketOf(asked), pay });
        return reply.code(201).send(orderOnWire(placed));
      },
    );
    app.get(
      '/v1/orders',
      {
        config: { caller: 'customer or operator' },
        schema: {
          tags,
          summary: 'Orders, newest first',
          description: 'A customer sees its own, an operator all.',
          querystring: z.strictObject({ ...pageQuery, status: status.optional() }),
          response: { 200: pageOf(order) },
        },
      },
      async ({ actor, query }) =>
        pageOnWire(await shop.orders.page(actor, { status: query.status }, pageRequest(query)), orderOnWire),
    );
    app.get(
      '/v1/orders/:id',
      {
        config: { caller: 'customer or operator' },
        schema: { tags, summary: 'An order', params: idParams, response: { 200: order } },
      },
      async ({ actor, params }) => orderOnWire(await shop.orders.find(actor, params.id)),
    );
    app.post(
      '/v1/orders/:id/payment',
      {
        config: { caller: 'customer' },
        schema: {
          tags: ['Payments'],
          summary: 'Pay an order',
          description: 'Once, however often it is asked: a paid order answers with its payment.',
          params: idParams,
          body: z.strictObject({ method: z.literal('balance') }),
          response: { 201: payment },
        },
      },
      async (request, reply) =>
        reply.code(201).send(paymentOnWire(await shop.payments.pay(callerOf(request), { orderId: request.params.id }))),
    );
    app.get(
      '/v1/payments/:id',
      {
        config: { caller: 'customer or operator' },
        schema: { tags: ['Payments'], summary: 'A payment', params: idParams, response: { 200: payment } },
      },
      async ({ actor, params }) => paymentOnWire(await shop.payments.find(actor, params.id)),
    );
  };
