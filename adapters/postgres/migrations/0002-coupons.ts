import { type Kysely, sql } from 'kysely';

/**
 * Campaigns, coupons and the record of claims. `issued <= quantity`, one coupon a customer and one a rank stand in the schema.
 * Coupons and claims have no foreign key to their campaign: it is the hottest row of a drop (docs/adr/0003).
 */
export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`
    create table campaigns (
      id            uuid primary key,
      name          text not null,
      discount      jsonb not null,
      min_order     bigint not null check (min_order >= 0),
      max_discount  bigint check (max_discount > 0),
      quantity      integer not null check (quantity > 0),
      issued        integer not null constraint issued_within_quantity check (issued between 0 and quantity),
      opens_at      timestamptz not null,
      closes_at     timestamptz not null check (closes_at > opens_at),
      closed_at     timestamptz,
      valid_days    integer not null check (valid_days > 0),
      created_at    timestamptz not null
    ) with (fillfactor = 20);

    create table coupons (
      id            uuid primary key,
      campaign_id   uuid not null,
      customer_id   text not null,
      rank          integer not null check (rank > 0),
      discount      jsonb not null,
      min_order     bigint not null,
      max_discount  bigint,
      issued_at     timestamptz not null,
      expires_at    timestamptz not null,
      order_id      uuid,
      unique (campaign_id, customer_id),
      unique (campaign_id, rank)
    );
    create index coupons_by_customer on coupons (customer_id, id);

    create table claims (
      id              uuid primary key,
      campaign_id     uuid not null,
      customer_id     text not null,
      decision        text not null check (decision in ('issued', 'refused')),
      reason          text,
      rank            integer,
      coupon_id       uuid,
      attempts        integer not null check (attempts > 0),
      first_asked_at  timestamptz not null,
      decided_at      timestamptz not null,
      check ((decision = 'issued') = (rank is not null and coupon_id is not null and reason is null))
    );
    create index claims_by_campaign on claims (campaign_id, decision);
  `.execute(db);
};
