import type { Instant } from '../shared/time.ts';
import type { Coupon } from './coupon.ts';

/** Why a claim can be refused. */
export const claimRefusals = ['sold_out', 'already_claimed', 'not_open', 'closed'] as const;
export type ClaimRefusal = (typeof claimRefusals)[number];

/**
 * The record of a customer's claims on one campaign: what was decided and how often it was asked. There is one a customer
 * and campaign, so it is also what makes a second coupon impossible. An issue is final; a refusal counts on.
 */
export interface Claim {
  /** Follows from campaign and customer (port `claimId`), so asking again is the same claim. */
  readonly id: string;
  readonly campaignId: string;
  readonly customerId: string;
  readonly decision: 'issued' | 'refused';
  readonly reason: ClaimRefusal | null;
  readonly rank: number | null;
  readonly couponId: string | null;
  readonly attempts: number;
  readonly firstAskedAt: Instant;
  readonly decidedAt: Instant;
}

/** A claim that waits for its decision. */
export interface QueuedClaim {
  readonly id: string;
  readonly campaignId: string;
  readonly customerId: string;
}

/** What became of a claim so far. */
export type ClaimView = QueuedClaim &
  (
    | { readonly status: 'queued' /** 1 = next; never grows. */; readonly position: number }
    | { readonly status: 'issued'; readonly coupon: Coupon }
    | { readonly status: 'refused'; readonly reason: ClaimRefusal }
  );

/** What every record of a claim that is decided now has in common; asking again counts on. */
export const decided = (
  { id, campaignId, customerId }: QueuedClaim,
  known: Claim | undefined,
  at: Instant,
): Pick<Claim, 'id' | 'campaignId' | 'customerId' | 'attempts' | 'firstAskedAt' | 'decidedAt'> => ({
  id,
  campaignId,
  customerId,
  attempts: (known?.attempts ?? 0) + 1,
  firstAskedAt: known?.firstAskedAt ?? at,
  decidedAt: at,
});

export const refusedClaim = (record: ReturnType<typeof decided>, reason: ClaimRefusal): Claim => ({
  ...record,
  decision: 'refused',
  reason,
  rank: null,
  couponId: null,
});
