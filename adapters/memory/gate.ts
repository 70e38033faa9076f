import type { Gate } from '../../core/ports.ts';
import type { Instant } from '../../core/shared/time.ts';

export interface MemoryGateOptions {
  /** How many coupons a campaign has and who has one; null when there is no such campaign. */
  readonly load: (campaignId: string) => Promise<{ readonly quantity: number; readonly customers: readonly string[] } | null>;
  readonly now: () => Instant;
  /** Milliseconds after which a reservation that was never settled is given back. Default 4,000. */
  readonly reservationTtl?: number;
}

interface Campaign {
  /** null until it is loaded. */
  quantity: number | null;
  loading: boolean;
  readonly issued: Set<string>;
  /** Customer → when it was made; oldest first. */
  readonly reservations: Map<string, Instant>;
  usedAt: Instant;
}

/** Milliseconds without a claim after which a campaign may be forgotten, to be loaded again when it is claimed. */
const KEEP = 3_600_000;

/** A gate within one process. Claims pass at once while it loads a campaign. */
export const memoryGate = ({ load, now, reservationTtl = 4_000 }: MemoryGateOptions): Gate => {
  const campaigns = new Map<string, Campaign>();
  let sequence = 0;

  const campaignOf = (id: string): Campaign => {
    const known = campaigns.get(id);
    if (known) return known;
    for (const [other, { usedAt, loading }] of campaigns) {
      if (!loading && usedAt < now() - KEEP) campaigns.delete(other);
    }
    const fresh = { quantity: null, loading: false, issued: new Set<string>(), reservations: new Map(), usedAt: now() };
    campaigns.set(id, fresh);
    return fresh;
  };

  const loadOnce = async (id: string, campaign: Campaign) => {
    if (campaign.loading) return;
    campaign.loading = true;
    // Without an answer nothing is known, and the next claim asks again.
    const truth = await load(id).catch(() => null);
    campaign.loading = false;
    // What was issued while the books were read stays: a coupon is final.
    for (const customer of truth?.customers ?? []) campaign.issued.add(customer);
    campaign.quantity = truth?.quantity ?? null;
    if (!truth) campaigns.delete(id);
  };

  return {
    async admit(id, customerId) {
      const at = now();
      const campaign = campaignOf(id);
      const { issued, reservations } = campaign;
      campaign.usedAt = at;
      const [oldest] = reservations.values();
      if (oldest !== undefined && oldest <= at - reservationTtl) {
        // Nobody said what became of it: the books know.
        for (const [customer, since] of reservations) if (since <= at - reservationTtl) reservations.delete(customer);
        campaign.quantity = null;
      }
      if (campaign.quantity === null) void loadOnce(id, campaign);
      if (campaign.quantity === null) return { sequence: null };
      if (issued.has(customerId)) return { refused: 'already_claimed' };
      if (issued.size >= campaign.quantity) return { refused: 'sold_out' };
      if (reservations.has(customerId) || issued.size + reservations.size >= campaign.quantity) return { sequence: null };
      reservations.set(customerId, at);
      return { sequence: ++sequence };
    },
    settle(id, customerId, outcome) {
      const campaign = campaigns.get(id);
      campaign?.reservations.delete(customerId);
      if (outcome === 'issued') campaign?.issued.add(customerId);
    },
  };
};
