import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { CartView } from '../../core/cart/cart.ts';
import type { Shop } from '../../core/shop.ts';
import { callerOf } from './idempotency.ts';
import { instant, orderQuantity, skuParams, time, won } from './schemas.ts';

const cart = z
  .object({
    items: z.array(
      z.object({
        sku: z.string(),
        productId: z.uuid(),
        name: z.string(),
        quantity: z.int(),
        unitPrice: won.meta({ description: 'Now.' }),
        unitPriceWhenAdded: won,
        amount: won,
        stock: z.int(),
        status: z.enum(['on_sale', 'hidden']),
        changes: z
          .array(z.enum(['price_changed', 'insufficient_stock', 'not_on_sale']))
          .meta({ description: 'What changed since it was put in.' }),
        addedAt: instant,
      }),
    ),
    total: won,
  })
  .meta({ id: 'Cart' });

const onWire = ({ items, total }: CartView) => ({
  items: items.map((item) => ({ ...item, changes: [...item.changes], addedAt: time(item.addedAt) })),
  total,
});

export const cartRoutes =
  (shop: Shop): FastifyPluginAsyncZod =>
  async (app) => {
    const tags = ['Cart'];
    const config = { caller: 'customer' as const };
    app.get('/v1/cart', { config, schema: { tags, summary: 'The cart', response: { 200: cart } } }, async ({ actor }) =>
      onWire(await shop.cart.read(actor)),
    );
    app.put(
      '/v1/cart/items/:sku',
      {
        config,
        schema: {
          tags,
          summary: 'Put a SKU in, or set its quantity',
          params: skuParams,
          body: z.strictObject({ quantity: orderQuantity }),
          response: { 200: cart },
        },
      },
      async (request) => onWire(await shop.cart.putItem(callerOf(request), { ...request.params, ...request.body })),
    );
    app.delete(
      '/v1/cart/items/:sku',
      { config, schema: { tags, summary: 'Take a SKU out', params: skuParams, response: { 204: z.null() } } },
      async (request, reply) => {
        await shop.cart.removeItem(callerOf(request), request.params);
        return reply.code(204).send(null);
      },
    );
    app.delete(
      '/v1/cart',
      { config, schema: { tags, summary: 'Empty the cart', response: { 204: z.null() } } },
      async (request, reply) => {
        await shop.cart.clear(callerOf(request));
        return reply.code(204).send(null);
      },
    );
  };
