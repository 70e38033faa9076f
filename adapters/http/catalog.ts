import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { MAX_STOCK, type ProductView } from '../../core/catalog/product.ts';
import type { Shop } from '../../core/shop.ts';
import { callerOf } from './idempotency.ts';
import {
  idParams,
  instant,
  pageOf,
  pageOnWire,
  pageQuery,
  pageRequest,
  sku,
  skuParams,
  text,
  time,
  won,
  wonIn,
} from './schemas.ts';

const status = z.enum(['on_sale', 'hidden']);
const product = z
  .object({
    id: z.uuid(),
    name: z.string(),
    category: z.string(),
    status,
    variants: z.array(
      z.object({
        sku: z.string(),
        name: z.string(),
        price: won,
        stock: z.int().meta({ description: 'On hand at the time of asking.' }),
      }),
    ),
  })
  .meta({ id: 'Product' });

const onWire = (view: ProductView) => ({ ...view, variants: [...view.variants] });

const stock = z.int().min(0).max(MAX_STOCK);
const newProduct = z.strictObject({
  name: text(200),
  category: text(100),
  status: status.default('on_sale'),
  variants: z
    .array(z.strictObject({ sku, name: text(200), price: wonIn.max(1_000_000_000), stock }))
    .min(1)
    .max(100),
});
const productChange = z
  .strictObject({
    name: text(200).optional(),
    category: text(100).optional(),
    status: status.optional(),
    variants: z
      .array(z.strictObject({ sku, name: text(200).optional(), price: wonIn.max(1_000_000_000).optional() }))
      .max(100)
      .optional(),
  })
  .refine((change) => Object.keys(change).length > 0, 'must change something');
const adjustment = z
  .object({ id: z.uuid(), sku: z.string(), delta: z.int(), stock: z.int(), reason: z.string(), createdAt: instant })
  .meta({ id: 'StockAdjustment' });

export const catalogRoutes =
  (shop: Shop): FastifyPluginAsyncZod =>
  async (app) => {
    const tags = ['Catalog'];
    app.get(
      '/v1/products',
      {
        config: { caller: 'anyone' },
        schema: {
          tags,
          summary: 'List products',
          querystring: z.strictObject({
            ...pageQuery,
            category: text(100).optional(),
            search: text(100).optional().meta({ description: 'Part of the name, in any case.' }),
            sort: z.enum(['newest', 'price_asc', 'price_desc', 'name']).optional(),
            status: status.optional().meta({ description: 'Hidden ones are shown to operators only.' }),
          }),
          response: { 200: pageOf(product) },
        },
      },
      async ({ actor, query }) => {
        const { category, search, sort = 'newest', status } = query;
        return pageOnWire(await shop.catalog.page(actor, { category, search, sort, status }, pageRequest(query)), onWire);
      },
    );
    app.get(
      '/v1/products/:id',
      {
        config: { caller: 'anyone' },
        schema: { tags, summary: 'A product with its exact stock', params: idParams, response: { 200: product } },
      },
      async ({ actor, params }) => onWire(await shop.catalog.find(actor, params.id)),
    );
    app.post(
      '/v1/products',
      {
        config: { caller: 'operator' },
        schema: { tags, summary: 'Create a product', body: newProduct, response: { 201: product } },
      },
      async (request, reply) => reply.code(201).send(onWire(await shop.catalog.create(callerOf(request), request.body))),
    );
    app.patch(
      '/v1/products/:id',
      {
        config: { caller: 'operator' },
        schema: { tags, summary: 'Change or hide a product', params: idParams, body: productChange, response: { 200: product } },
      },
      async (request) => onWire(await shop.catalog.change(callerOf(request), { id: request.params.id, ...request.body })),
    );
    app.post(
      '/v1/skus/:sku/stock-adjustments',
      {
        config: { caller: 'operator' },
        schema: {
          tags,
          summary: 'Put stock on hand, or take it off',
          params: skuParams,
          body: z.strictObject({
            delta: z
              .int()
              .min(-MAX_STOCK)
              .max(MAX_STOCK)
              .refine((delta) => delta !== 0, 'must not be 0')
              .meta({ description: 'Pieces that came (positive) or went (negative).' }),
            reason: text(200),
          }),
          response: { 201: adjustment },
        },
      },
      async (request, reply) => {
        const { createdAt, ...made } = await shop.catalog.adjustStock(callerOf(request), { ...request.params, ...request.body });
        return reply.code(201).send({ ...made, createdAt: time(createdAt) });
      },
    );
  };
