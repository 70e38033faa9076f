import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Customer } from '../../core/customer/customer.ts';
import type { Shop } from '../../core/shop.ts';
import type { Auth } from './auth.ts';
import { callerOf } from './idempotency.ts';
import { instant, text, time } from './schemas.ts';

const customer = z
  .object({ id: z.string(), email: z.string().nullable(), name: z.string(), createdAt: instant })
  .meta({ id: 'Customer' });
const onWire = ({ id, email, name, createdAt }: Customer) => ({ id, email, name, createdAt: time(createdAt) });

const tokens = z
  .object({
    accessToken: z.string(),
    tokenType: z.literal('Bearer'),
    expiresIn: z.int().meta({ description: 'Seconds.' }),
    refreshToken: z.string().meta({ description: 'Serves once.' }),
  })
  .meta({ id: 'Tokens' });

const email = z.email().max(320);
const password = z
  .string()
  .min(8)
  .max(64)
  .refine((value) => value.isWellFormed() && !value.includes('\0'), 'must be text');
const refreshToken = z.string().regex(/^[\w.-]{1,4096}$/, 'must be a refresh token');

export const customerRoutes =
  (shop: Shop, auth: Auth): FastifyPluginAsyncZod =>
  async (app) => {
    const tags = ['Customers'];
    app.get(
      '/v1/me',
      { config: { caller: 'customer' }, schema: { tags, summary: 'Who am I', response: { 200: customer } } },
      async ({ actor }) => onWire(await shop.customers.me(actor)),
    );
    if (!auth.ownIdentity) return;

    app.post(
      '/v1/customers',
      {
        config: { caller: 'stranger' },
        schema: {
          tags,
          summary: 'Register',
          body: z.strictObject({ email, password, name: text(50) }),
          response: { 201: customer },
        },
      },
      async (request, reply) => reply.code(201).send(onWire(await shop.customers.register(callerOf(request), request.body))),
    );
    app.post(
      '/v1/sessions',
      {
        config: { caller: 'stranger' },
        schema: {
          tags,
          summary: 'Log in',
          body: z.strictObject({ email, password: z.string().max(64) }),
          response: { 201: tokens },
        },
      },
      async (request, reply) => {
        const session = await shop.customers.openSession(callerOf(request), request.body);
        return reply.code(201).send(await auth.tokensOf(session));
      },
    );
    app.post(
      '/v1/sessions/refresh',
      {
        config: { caller: 'stranger' },
        schema: { tags, summary: 'Prolong a log-in', body: z.strictObject({ refreshToken }), response: { 201: tokens } },
      },
      async (request, reply) => {
        const session = await shop.customers.refreshSession(callerOf(request), await auth.sessionOf(request.body.refreshToken));
        return reply.code(201).send(await auth.tokensOf(session));
      },
    );
    app.post(
      '/v1/sessions/end',
      {
        config: { caller: 'stranger' },
        schema: { tags, summary: 'Log out', body: z.strictObject({ refreshToken }), response: { 204: z.null() } },
      },
      async (request, reply) => {
        await shop.customers.endSession(callerOf(request), await auth.sessionOf(request.body.refreshToken));
        return reply.code(204).send(null);
      },
    );
  };
