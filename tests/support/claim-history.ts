import { query } from './history.ts';

/** What a customer asked of a campaign, and learned. Times are of the one clock that all customers of a test share. */
export interface ClaimAsked {
  readonly campaign: string;
  readonly customer: string;
  readonly t0: number;
  readonly t1: number;
  /** The rank of the coupon, or the code of the refusal. unknown: no answer, or one that does not tell. */
  readonly outcome: { readonly issued: number } | { readonly refused: string } | 'unknown';
}

/** What stands in Postgres about a campaign that is open and stays so. */
export interface CampaignBooks {
  readonly id: string;
  readonly quantity: number;
  readonly issued: number;
  readonly coupons: readonly { readonly id: string; readonly customer: string; readonly rank: number }[];
  readonly claims: readonly {
    readonly customer: string;
    readonly decision: string;
    readonly reason: string | null;
    readonly rank: number | null;
    readonly couponId: string | null;
    readonly attempts: number;
  }[];
  /** Coupons that were announced in the outbox. */
  readonly announced: readonly string[];
}

export const campaignBooks = async (databaseUrl: string, id: string): Promise<CampaignBooks> => {
  const list = (object: string, from: string) => `(select coalesce(json_agg(${object}), '[]') from ${from})`;
  const [row] = await query(
    databaseUrl,
    `select id, quantity, issued,
      ${list(`json_build_object('id', id, 'customer', customer_id, 'rank', rank)`, 'coupons where campaign_id = c.id')} as coupons,
      ${list(
        `json_build_object('customer', customer_id, 'decision', decision, 'reason', reason, 'rank', rank, 'couponId', coupon_id,
          'attempts', attempts)`,
        'claims where campaign_id = c.id',
      )} as claims,
      ${list(`data->>'couponId'`, `outbox where type = 'coupon.issued' and subject = c.id::text`)} as announced
     from campaigns as c where id = '${id}'`,
  );
  return row;
};

/**
 * What the history and the books of a campaign say against each other. A sound pair gives an empty list.
 *
 * At most `quantity` issued, exactly so many when enough asked; ranks 1..n; one each; answered before another asked ⇒ smaller
 * rank; told ⇒ there, refused ⇒ for a reason that holds; one record a customer. `lossless: false` when a process was killed or
 * claims were queued: then refusals may be recorded less, or counted more often.
 */
export const claimContradictions = (
  all: readonly ClaimAsked[],
  { id, quantity, issued, coupons, claims, announced }: CampaignBooks,
  { lossless = true }: { lossless?: boolean } = {},
): string[] => {
  const wrong: string[] = [];
  const must = (holds: boolean, says: string) => void (holds || wrong.push(says));
  const asked = Map.groupBy(
    all.filter(({ campaign }) => campaign === id),
    ({ customer }) => customer,
  );
  const held = Map.groupBy(coupons, ({ customer }) => customer);
  const count = coupons.length;
  const byRank = coupons.toSorted((a, b) => a.rank - b.rank);

  must(count <= quantity, `over-issued: ${count} of ${quantity}`);
  must(count >= Math.min(quantity, asked.size), `leaked: ${count} of ${quantity} issued, and ${asked.size} customers asked`);
  must(issued === count, `the campaign says ${issued} issued, there are ${count} coupons`);
  byRank.forEach(({ rank }, i) => void must(rank === i + 1, `rank ${rank} in place ${i + 1}`));
  must(announced.length === count && coupons.every((coupon) => announced.includes(coupon.id)), `${announced.length} announced`);

  /** Customer → when the coupon can have been asked for at the earliest, and was known to be issued. */
  const spans = new Map<string, { from: number; to: number }>();
  let soldOutAt = Infinity;
  for (const [customer, asks] of asked) {
    const [coupon] = held.get(customer) ?? [];
    const known = asks.flatMap(({ t0, t1, outcome }) => (outcome === 'unknown' ? [] : [{ t0, t1, outcome }]));
    const told = known.flatMap(({ outcome, ...ask }) => ('issued' in outcome ? [{ ...ask, rank: outcome.issued }] : []));
    const refused = known.flatMap(({ outcome, ...ask }) => ('refused' in outcome ? [{ ...ask, code: outcome.refused }] : []));
    must(known.length > 0, `unresolved: ${customer}`);
    must(told.length <= 1, `told of ${told.length} coupons: ${customer}`);
    for (const { rank } of told) must(rank === coupon?.rank, `told rank ${rank}, but there is ${coupon?.rank}: ${customer}`);
    for (const { code, t1 } of refused) {
      must(['sold_out', 'already_claimed'].includes(code), `refused with ${code}: ${customer}`);
      must(code !== 'sold_out' || count === quantity, `sold_out, but ${count} of ${quantity} were issued: ${customer}`);
      must(code !== 'already_claimed' || coupon !== undefined, `already_claimed, but without a coupon: ${customer}`);
      if (code === 'sold_out') soldOutAt = Math.min(soldOutAt, t1);
    }
    if (!coupon) continue;
    const from = told[0]?.t0 ?? Math.min(...asks.map(({ t0 }) => t0));
    const to = Math.min(
      ...told.map(({ t1 }) => t1),
      ...refused.map(({ t1, code }) => (code === 'already_claimed' ? t1 : Infinity)),
    );
    spans.set(customer, { from, to });
  }

  // From the last rank to the first: nobody of a higher rank may have been answered before this one asked.
  let answered = Infinity;
  for (const { customer, rank } of byRank.toReversed()) {
    const { from, to } = spans.get(customer) ?? { from: -Infinity, to: Infinity };
    must(asked.has(customer), `never asked for: ${customer}'s coupon`);
    must(from <= answered, `inversion: rank ${rank} asked after a higher rank was answered`);
    must(from <= soldOutAt, `rank ${rank} asked after another was told sold_out`);
    answered = Math.min(answered, to);
  }

  const records = Map.groupBy(claims, ({ customer }) => customer);
  for (const customer of new Set([...asked.keys(), ...held.keys(), ...records.keys()])) {
    const [record, ...more] = records.get(customer) ?? [];
    const mine = held.get(customer) ?? [];
    const asks = asked.get(customer) ?? [];
    must(mine.length <= 1, `${mine.length} coupons: ${customer}`);
    must(more.length === 0, `${more.length + 1} claim records: ${customer}`);
    must(record !== undefined || (!lossless && mine.length === 0), `no claim record: ${customer}`);
    if (!record) continue;
    const { decision, reason, rank, couponId, attempts } = record;
    const says = JSON.stringify(record);
    if (mine[0]) must(decision === 'issued' && rank === mine[0].rank && couponId === mine[0].id, `has a coupon, but: ${says}`);
    else must(decision === 'refused' && reason === 'sold_out' && rank === null, `has none, but: ${says}`);
    const known = asks.filter(({ outcome }) => outcome !== 'unknown').length;
    must(!lossless || (attempts >= known && attempts <= asks.length), `asked ${asks.length} times: ${says}`);
  }
  return wrong;
};
