import { emit } from '../event/event.ts';
import type { Ports } from '../ports.ts';
import { type Caller, mustBeOperator } from '../shared/actor.ts';
import { won } from '../shared/money.ts';
import { found, refuse } from '../shared/refusal.ts';
import type { Instant } from '../shared/time.ts';
import type { Campaign } from './campaign.ts';

export interface CreateCampaign {
  readonly name: string;
  readonly discount: { readonly kind: 'percent'; readonly percent: number } | { readonly kind: 'fixed'; readonly amount: number };
  readonly minOrder: number;
  readonly maxDiscount: number | null;
  readonly quantity: number;
  readonly opensAt: Instant;
  readonly closesAt: Instant;
  readonly validDays: number;
}

const termsOf = ({ discount, minOrder, maxDiscount }: CreateCampaign) => {
  const { kind } = discount;
  const inRange = kind === 'percent' ? discount.percent >= 1 && discount.percent <= 99 : discount.amount >= 1;
  if (!inRange) refuse({ code: 'invalid_campaign', reason: 'discount' });
  return {
    discount: kind === 'percent' ? { kind, percent: discount.percent } : { kind, amount: won(discount.amount) },
    minOrder: won(minOrder),
    maxDiscount: maxDiscount === null ? null : won(maxDiscount),
  };
};

/** Announces coupons, first come first served, from `opensAt` until `closesAt` or until they are gone. */
export const createCampaign =
  ({ transact, newId }: Pick<Ports, 'transact' | 'newId'>) =>
  async ({ actor, once }: Caller, input: CreateCampaign): Promise<Campaign> => {
    mustBeOperator(actor);
    return transact({ once }, (books) => {
      const { name, quantity, opensAt, closesAt, validDays } = input;
      if (closesAt <= opensAt) refuse({ code: 'invalid_campaign', reason: 'window' });
      const campaign: Campaign = {
        ...termsOf(input),
        id: newId(),
        name,
        quantity,
        issued: 0,
        opensAt,
        closesAt,
        closedAt: null,
        validDays,
        createdAt: books.now,
      };
      books.create('campaigns', campaign);
      emit(books, newId(), 'campaign.created', campaign.id, { campaignId: campaign.id });
      return campaign;
    });
  };

/** Ends a campaign before its time, for good. Coupons already out stay good. Closing a closed one changes nothing. */
export const closeCampaign =
  ({ transact, newId }: Pick<Ports, 'transact' | 'newId'>) =>
  async ({ actor, once }: Caller, { campaignId }: { readonly campaignId: string }): Promise<Campaign> => {
    mustBeOperator(actor);
    return transact({ campaigns: [campaignId], once }, (books) => {
      const campaign = found(books.get('campaigns', campaignId), 'campaign');
      if (campaign.closedAt !== null) return campaign;
      const closed: Campaign = { ...campaign, closedAt: books.now };
      books.put('campaigns', closed);
      emit(books, newId(), 'campaign.closed', campaignId, { campaignId, issued: closed.issued });
      return closed;
    });
  };
