import { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { type Campaign, campaignStatus } from '../../core/coupon/campaign.ts';
import { type ClaimView, claimRefusals } from '../../core/coupon/claim.ts';
import { type Coupon, couponStatus } from '../../core/coupon/coupon.ts';
import type { Actor } from '../../core/shared/actor.ts';
import { DomainError, Unavailable } from '../../core/shared/refusal.ts';
import type { Instant } from '../../core/shared/time.ts';
import type { Shop } from '../../core/shop.ts';
import { callerOf, wantsAsync } from './idempotency.ts';
import {
  id,
  idParams,
  instant,
  instantIn,
  limit,
  noBody,
  pageOf,
  pageOnWire,
  pageQuery,
  pageRequest,
  text,
  time,
  won,
  wonIn,
} from './schemas.ts';

const discount = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('percent'), percent: z.int().min(1).max(99) }),
  z.strictObject({ kind: z.literal('fixed'), amount: wonIn }),
]);
const newCampaign = z.strictObject({
  name: text(200),
  discount,
  minOrder: z
    .int()
    .min(0)
    .max(1_000_000_000_000)
    .default(0)
    .meta({ description: 'Goods total from which a coupon may be used.' }),
  maxDiscount: wonIn
    .nullable()
    .default(null)
    .meta({ description: 'The most that a coupon takes off; null: no limit of its own.' }),
  quantity: z.int().min(1).max(10_000_000),
  opensAt: instantIn,
  closesAt: instantIn,
  validDays: z.int().min(1).max(3_650),
});

const discountOut = z.union([
  z.object({ kind: z.literal('percent'), percent: z.int() }),
  z.object({ kind: z.literal('fixed'), amount: won }),
]);
const campaign = z
  .object({
    id,
    name: z.string(),
    discount: discountOut,
    minOrder: won,
    maxDiscount: won.nullable(),
    quantity: z.int(),
    opensAt: instant,
    closesAt: instant,
    validDays: z.int(),
    issued: z.int(),
    remaining: z.int(),
    queued: z.int().meta({ description: 'Claims that wait for their decision.' }),
    ended: z.boolean().meta({ description: 'No coupon will ever come out of it again.' }),
    status: z.enum(['scheduled', 'open', 'sold_out', 'closed']),
  })
  .meta({ id: 'Campaign' });
const campaignOnWire = ({ campaign, queued, now }: { campaign: Campaign; queued: number; now: Instant }) => {
  const { createdAt, closedAt, ...rest } = campaign;
  const status = campaignStatus(campaign, now);
  return {
    ...rest,
    opensAt: time(campaign.opensAt),
    closesAt: time(campaign.closesAt),
    remaining: campaign.quantity - campaign.issued,
    queued,
    ended: status === 'sold_out' || status === 'closed',
    status,
  };
};

const coupon = z
  .object({
    id,
    campaignId: id,
    rank: z.int().meta({ description: 'Place in the campaign; 1 = first.' }),
    discount: discountOut,
    status: z.enum(['usable', 'used', 'expired']),
    issuedAt: instant,
    expiresAt: instant,
    orderId: id.nullable(),
  })
  .meta({ id: 'Coupon' });
const couponOnWire = (held: Coupon, now: Instant) => ({
  id: held.id,
  campaignId: held.campaignId,
  rank: held.rank,
  discount: held.discount,
  status: couponStatus(held, now),
  issuedAt: time(held.issuedAt),
  expiresAt: time(held.expiresAt),
  orderId: held.orderId,
});

const claim = z
  .object({
    id,
    campaignId: id,
    status: z.enum(['queued', 'issued', 'refused']),
    position: z.int().nullable().meta({ description: 'While queued: 1 = next. Never grows.' }),
    coupon: coupon.nullable(),
    reason: z.enum(claimRefusals).nullable(),
  })
  .meta({ id: 'Claim' });
const claimOnWire = (view: ClaimView, now: Instant) => ({
  id: view.id,
  campaignId: view.campaignId,
  status: view.status,
  position: view.status === 'queued' ? view.position : null,
  coupon: view.status === 'issued' ? couponOnWire(view.coupon, now) : null,
  reason: view.status === 'refused' ? view.reason : null,
});

/** Milliseconds between two looks at a queued claim that somebody watches. */
const LOOK_EVERY = 250;

export const couponRoutes =
  (shop: Shop, now: () => Instant, closing: () => boolean): FastifyPluginAsyncZod =>
  async (app) => {
    const campaigns = ['Campaigns'];
    const tags = ['Coupons'];
    app.get(
      '/v1/campaigns',
      {
        config: { caller: 'anyone' },
        schema: {
          tags: campaigns,
          summary: 'Campaigns, newest first',
          querystring: z.strictObject(pageQuery),
          response: { 200: pageOf(campaign) },
        },
      },
      async ({ query }) =>
        pageOnWire(await shop.campaigns.page(pageRequest(query)), (view) => campaignOnWire({ ...view, now: now() })),
    );
    app.get(
      '/v1/campaigns/:id',
      {
        config: { caller: 'anyone' },
        schema: { tags: campaigns, summary: 'A campaign', params: idParams, response: { 200: campaign } },
      },
      async ({ params }) => campaignOnWire({ ...(await shop.campaigns.find(params.id)), now: now() }),
    );
    app.get(
      '/v1/campaigns/:id/ranking',
      {
        config: { caller: 'anyone' },
        schema: {
          tags: campaigns,
          summary: 'Who was how fast',
          params: idParams,
          querystring: z.strictObject({ limit: limit.optional() }),
          response: {
            200: z.object({
              items: z.array(
                z.object({
                  rank: z.int(),
                  name: z.string().meta({ description: 'Its first letter.' }),
                  issuedAt: instant,
                  afterOpening: z.int().meta({ description: 'Milliseconds.' }),
                }),
              ),
            }),
          },
        },
      },
      async ({ params, query }) => {
        const { campaign, ranking } = await shop.campaigns.ranking(params.id, query.limit ?? 20);
        return {
          items: ranking.map(({ rank, name, issuedAt }) => ({
            rank,
            // Anyone may look: no more than tells friends apart.
            name: `${[...name][0] ?? ''}***`,
            issuedAt: time(issuedAt),
            afterOpening: issuedAt - campaign.opensAt,
          })),
        };
      },
    );
    app.post(
      '/v1/campaigns',
      {
        config: { caller: 'operator' },
        schema: { tags: campaigns, summary: 'Announce a campaign', body: newCampaign, response: { 201: campaign } },
      },
      async (request, reply) => {
        const { opensAt, closesAt, ...rest } = request.body;
        const made = await shop.campaigns.create(callerOf(request), {
          ...rest,
          opensAt: Date.parse(opensAt),
          closesAt: Date.parse(closesAt),
        });
        return reply.code(201).send(campaignOnWire({ campaign: made, queued: 0, now: now() }));
      },
    );
    app.post(
      '/v1/campaigns/:id/close',
      {
        config: { caller: 'operator' },
        schema: {
          tags: campaigns,
          summary: 'Close a campaign before its time, for good',
          params: idParams,
          body: noBody,
          response: { 200: campaign },
        },
      },
      async (request) => {
        const closed = await shop.campaigns.close(callerOf(request), { campaignId: request.params.id });
        return campaignOnWire({ campaign: closed, queued: 0, now: now() });
      },
    );
    app.post(
      '/v1/campaigns/:id/claims',
      {
        config: { caller: 'customer' },
        schema: {
          tags,
          summary: 'Claim a coupon, first come first served',
          description:
            '201: the coupon, durably issued. With `Prefer: respond-async` 202: the claim, queued; it holds no coupon yet. ' +
            '409 sold_out, already_claimed, not_open or closed.',
          params: idParams,
          body: noBody,
          response: { 201: coupon, 202: claim },
        },
      },
      async (request, reply) => {
        const asked = { campaignId: request.params.id };
        if (wantsAsync(request)) {
          const view = await shop.coupons.enqueue(callerOf(request), asked);
          reply.header('preference-applied', 'respond-async').header('location', `/v1/claims/${view.id}`);
          return reply.code(202).send(claimOnWire(view, now()));
        }
        return reply.code(201).send(couponOnWire(await shop.coupons.claim(callerOf(request), asked), now()));
      },
    );
    app.get(
      '/v1/claims/:id',
      {
        config: { caller: 'customer' },
        schema: {
          tags,
          summary: 'What became of a claim',
          description:
            '404 for a claim that was queued and is known no more: its queue was lost before it was decided. Make it again.',
          params: idParams,
          response: { 200: claim },
        },
      },
      async ({ actor, params }) => claimOnWire(await shop.coupons.find(actor, params.id), now()),
    );
    app.get(
      '/v1/claims/:id/events',
      {
        config: { caller: 'customer' },
        schema: {
          tags,
          summary: 'Watch a claim',
          description: 'Server-sent events `queued`, then `issued` or `refused` (or `lost`: make it again), and the end.',
          params: idParams,
          response: { 200: { content: { 'text/event-stream': { schema: z.string() } } } },
        },
      },
      async ({ actor, params }, reply) => {
        // The first look decides the status: somebody else's claim is a 404, not a stream.
        const first = await shop.coupons.find(actor, params.id);
        return reply
          .type('text/event-stream')
          .header('cache-control', 'no-store')
          .send(Readable.from(watch(shop, actor, first, now, closing)) as never);
      },
    );
    app.get(
      '/v1/coupons',
      {
        config: { caller: 'customer' },
        schema: {
          tags,
          summary: 'My coupons, newest first',
          querystring: z.strictObject({ ...pageQuery, status: z.enum(['usable', 'used', 'expired']).optional() }),
          response: { 200: pageOf(coupon) },
        },
      },
      async ({ actor, query }) =>
        pageOnWire(await shop.coupons.held(actor, { status: query.status }, pageRequest(query)), (held) =>
          couponOnWire(held, now()),
        ),
    );
  };

/** A claim's way as server-sent events, until its outcome or until this process closes (the client asks again elsewhere). */
async function* watch(
  shop: Shop,
  actor: Actor,
  first: ClaimView,
  now: () => Instant,
  closing: () => boolean,
): AsyncGenerator<string> {
  const event = (name: string, data: unknown) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
  let view = first;
  let told = '';
  while (!closing()) {
    const said = event(view.status, claimOnWire(view, now()));
    // A comment in between keeps proxies from cutting a stream that waits.
    yield said === told ? ':\n\n' : said;
    told = said;
    if (view.status !== 'queued') return;
    await pause(LOOK_EVERY);
    try {
      view = await shop.coupons.find(actor, first.id);
    } catch (error) {
      // A server that is away for a moment comes back; the watcher waits.
      if (error instanceof Unavailable) continue;
      if (error instanceof DomainError) yield event('lost', { id: first.id });
      return;
    }
  }
}
