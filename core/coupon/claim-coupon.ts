import { type Books, remembering } from '../books.ts';
import { emit } from '../event/event.ts';
import type { Ports } from '../ports.ts';
import { type Actor, type Caller, customerOf, type Once } from '../shared/actor.ts';
import { DomainError, found, refuse } from '../shared/refusal.ts';
import { handOut, overFor } from './campaign.ts';
import { type ClaimRefusal, type ClaimView, claimRefusals, decided, type QueuedClaim, refusedClaim } from './claim.ts';
import { type Coupon, couponOf } from './coupon.ts';

type ClaimPorts = Pick<Ports, 'transact' | 'gate' | 'claimLog' | 'claimQueue' | 'claimId' | 'coupons' | 'newId' | 'now'>;

const claimRefusalOf = (error: unknown): ClaimRefusal | undefined =>
  error instanceof DomainError ? claimRefusals.find((code) => code === error.refusal.code) : undefined;

/** Thrown out of a decision that is only to be made when its answer is kept already. */
const NOT_YET = new Error('not answered yet');

/** Claims, first come first served: the coupon is durably issued before it is answered, and its rank is its place. */
export const claimCoupons = ({ transact, gate, claimLog, claimQueue, claimId, coupons, newId, now }: ClaimPorts) => {
  /** Hands a coupon to the claim, on the books; refuses before it changes anything. */
  const issue = (books: Books, claim: QueuedClaim): Coupon => {
    const { id, campaignId, customerId } = claim;
    const campaign = found(books.get('campaigns', campaignId), 'campaign');
    const known = books.get('claims', id);
    if (known?.decision === 'issued') refuse({ code: 'already_claimed' });
    const left = handOut(campaign, books.now);
    const coupon = couponOf(left, newId(), customerId, books.now);
    books.put('campaigns', left);
    books.create('coupons', coupon);
    books.put('claims', {
      ...decided(claim, known, books.now),
      decision: 'issued',
      reason: null,
      rank: coupon.rank,
      couponId: coupon.id,
    });
    emit(books, newId(), 'coupon.issued', campaignId, { campaignId, customerId, couponId: coupon.id, rank: coupon.rank });
    return coupon;
  };

  const scopeOf = ({ campaignId, id }: QueuedClaim, once?: Once) => ({ campaigns: [campaignId], claims: [id], once });

  const refused = (claim: QueuedClaim, reason: ClaimRefusal) => claimLog.refused({ ...claim, reason, at: now() });

  const claim = async (asked: QueuedClaim, once: Once | undefined): Promise<Coupon> => {
    const { campaignId, customerId } = asked;
    // With an idempotency key the answer may have been given before: only the books know.
    const answer = once ? null : await gate.admit(campaignId, customerId);
    if (answer && 'refused' in answer) {
      refused(asked, answer.refused);
      return refuse({ code: answer.refused });
    }
    try {
      const coupon = await transact(scopeOf(asked, once), (books) => issue(books, asked));
      gate.settle(campaignId, customerId, 'issued');
      return coupon;
    } catch (error) {
      const reason = claimRefusalOf(error);
      gate.settle(campaignId, customerId, reason === 'already_claimed' ? 'issued' : 'returned');
      if (reason) refused(asked, reason);
      throw error;
    }
  };

  /** The answer kept under the key; undefined when there is none yet. */
  const answered = (once: Once): Promise<ClaimView | undefined> =>
    transact({ once }, (): ClaimView => {
      throw NOT_YET;
    }).catch((error) => (error === NOT_YET ? undefined : Promise.reject(error)));

  const askedBy = (actor: Actor, campaignId: string): QueuedClaim => {
    const customerId = customerOf(actor);
    return { id: claimId(campaignId, customerId), campaignId, customerId };
  };

  return {
    /** The coupon, once it is durably issued. Refuses with `sold_out`, `already_claimed`, `not_open`, `closed`. */
    claim: async ({ actor, once }: Caller, { campaignId }: { readonly campaignId: string }): Promise<Coupon> =>
      claim(askedBy(actor, campaignId), once),

    /**
     * Queues the claim and answers at once. What is queued holds no coupon: if the queue is lost, nothing leaks, and the
     * claim can be made again. Refuses like `claim` what is final already.
     */
    enqueue: async ({ actor, once }: Caller, { campaignId }: { readonly campaignId: string }): Promise<ClaimView> => {
      const asked = askedBy(actor, campaignId);
      const replay = once && (await answered(once));
      if (replay) {
        // Its queue may have been lost since: then it stands in line again.
        const known = await coupons.claim(asked.id, asked.customerId);
        if (!known?.coupon && !(await claimQueue.find(asked.id))) await claimQueue.add(asked);
        return replay;
      }
      const campaign = found(await coupons.campaign(campaignId), 'campaign');
      const known = await coupons.claim(asked.id, asked.customerId);
      const no = known?.coupon ? 'already_claimed' : overFor(campaign);
      if (no) {
        refused(asked, no);
        return remembering(transact, once, () => refuse({ code: no }));
      }
      const view: ClaimView = { ...asked, status: 'queued', position: await claimQueue.add(asked) };
      return remembering(transact, once, () => view);
    },

    /** What became of a claim of the caller's. `not_found` for one that was lost with the queue: it can be made again. */
    find: async (actor: Actor, id: string): Promise<ClaimView> => {
      const customerId = customerOf(actor);
      // The queue first: a claim leaves it only after its decision is on the books.
      let away: unknown;
      const queued = await claimQueue.find(id).catch((error) => {
        away = error;
        return null;
      });
      if (queued && queued.customerId === customerId) return { ...queued, status: 'queued' };
      const known = await coupons.claim(id, customerId);
      // What is decided can be told without the queue; what is not, cannot.
      if (!known && away) throw away;
      const { claim, coupon } = found(known, 'claim');
      const { campaignId } = claim;
      if (coupon) return { id, campaignId, customerId, status: 'issued', coupon };
      return { id, campaignId, customerId, status: 'refused', reason: claim.reason as ClaimRefusal };
    },

    /** Decides what is queued, until stopped: the worker's job. A refusal is on the books before the claim leaves the queue. */
    work: () =>
      claimQueue.work(async (queued) => {
        const issued = await transact(scopeOf(queued), (books) => {
          try {
            issue(books, queued);
            return true;
          } catch (error) {
            const reason = claimRefusalOf(error);
            if (!reason) throw error;
            const known = books.get('claims', queued.id);
            // One that was issued is only handed out again, not asked again.
            if (known?.decision === 'issued') return true;
            books.put('claims', refusedClaim(decided(queued, known, books.now), reason));
            return false;
          }
        });
        gate.settle(queued.campaignId, queued.customerId, issued ? 'issued' : 'returned');
      }),
  };
};
