import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Shop } from '../../core/shop.ts';
import { callerOf } from './idempotency.ts';
import { instant, pageOf, pageOnWire, pageQuery, pageRequest, time, won, wonIn } from './schemas.ts';

const charge = z.object({ id: z.uuid(), amount: won, balance: won, createdAt: instant }).meta({ id: 'Charge' });
const balance = z.object({ balance: won, currency: z.literal('KRW') }).meta({ id: 'Balance' });
const entry = z
  .object({
    id: z.uuid(),
    kind: z.enum(['charge', 'payment', 'refund']),
    amount: won.meta({ description: 'Negative when money went away.' }),
    balance: won.meta({ description: 'After it.' }),
    orderId: z.uuid().nullable(),
    createdAt: instant,
  })
  .meta({ id: 'BalanceEntry' });

export const balanceRoutes =
  (shop: Shop): FastifyPluginAsyncZod =>
  async (app) => {
    const tags = ['Balance'];
    app.post(
      '/v1/balance/charges',
      {
        config: { caller: 'customer' },
        schema: { tags, summary: 'Charge the balance', body: z.strictObject({ amount: wonIn }), response: { 201: charge } },
      },
      async (request, reply) => {
        const { createdAt, ...made } = await shop.balance.charge(callerOf(request), request.body);
        return reply.code(201).send({ ...made, createdAt: time(createdAt) });
      },
    );
    app.get(
      '/v1/balance',
      { config: { caller: 'customer' }, schema: { tags, summary: 'The balance', response: { 200: balance } } },
      async ({ actor }) => ({ balance: await shop.balance.read(actor), currency: 'KRW' as const }),
    );
    app.get(
      '/v1/balance/entries',
      {
        config: { caller: 'customer' },
        schema: {
          tags,
          summary: 'The ledger, newest first',
          querystring: z.strictObject(pageQuery),
          response: { 200: pageOf(entry) },
        },
      },
      async ({ actor, query }) =>
        pageOnWire(await shop.balance.entries(actor, pageRequest(query)), ({ createdAt, ...rest }) => ({
          ...rest,
          createdAt: time(createdAt),
        })),
    );
  };
