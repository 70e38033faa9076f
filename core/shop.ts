import { openAccount } from './balance/account.ts';
import { chargeBalance } from './balance/charge-balance.ts';
import { clearCart, putCartItem, readCart, removeCartItem } from './cart/change-cart.ts';
import { adjustStock } from './catalog/adjust-stock.ts';
import { changeProduct } from './catalog/change-product.ts';
import { createProduct } from './catalog/create-product.ts';
import type { ProductView } from './catalog/product.ts';
import type { Campaign } from './coupon/campaign.ts';
import { claimCoupons } from './coupon/claim-coupon.ts';
import type { CouponStatus } from './coupon/coupon.ts';
import { closeCampaign, createCampaign } from './coupon/run-campaign.ts';
import { admitCustomer } from './customer/admit-customer.ts';
import { registerCustomer } from './customer/register-customer.ts';
import { endSession, openSession, refreshSession } from './customer/sessions.ts';
import { expireOrders } from './order/expire-orders.ts';
import type { OrderStatus } from './order/order.ts';
import { placeOrder, quoteOrder } from './order/place-order.ts';
import { payOrder } from './payment/pay-order.ts';
import type { Ports, ProductFilter } from './ports.ts';
import { type Actor, customerOf } from './shared/actor.ts';
import type { PageRequest } from './shared/page.ts';
import { found, refuse } from './shared/refusal.ts';

/** Whose objects the actor may see: a customer its own, an operator all (null). */
const ownerFor = (actor: Actor): string | null => (actor.role === 'operator' ? null : customerOf(actor));

/** A campaign and how many claims wait for it. A queue that is away counts as empty: the campaign can be read without it. */
const withQueue = async ({ claimQueue }: Ports, campaign: Campaign) => ({
  campaign,
  queued: await claimQueue.size(campaign.id).catch(() => 0),
});

/** Every use case, by area: the one door to the core. */
export const createShop = (ports: Ports) => ({
  customers: {
    register: registerCustomer(ports),
    admit: admitCustomer(ports),
    openSession: openSession(ports),
    refreshSession: refreshSession(ports),
    endSession: endSession(ports),
    me: async (actor: Actor) => found(await ports.customers.find(customerOf(actor)), 'customer'),
  },
  catalog: {
    create: createProduct(ports),
    change: changeProduct(ports),
    adjustStock: adjustStock(ports),
    /** Stock exact at the time of asking. A hidden product exists for operators only. */
    find: async (actor: Actor, id: string): Promise<ProductView> => {
      const product = found(await ports.products.find(id), 'product');
      const hidden = product.status === 'hidden' && actor.role !== 'operator';
      return hidden ? refuse({ code: 'not_found', what: 'product' }) : product;
    },
    page: async (actor: Actor, filter: ProductFilter, page: PageRequest) => {
      if (actor.role === 'operator') return ports.products.page(filter, page);
      if (filter.status === 'hidden') return { items: [], nextCursor: null };
      return ports.products.page({ ...filter, status: 'on_sale' }, page);
    },
  },
  balance: {
    charge: chargeBalance(ports),
    read: async (actor: Actor) => {
      const customerId = customerOf(actor);
      return ((await ports.accounts.find(customerId)) ?? openAccount(customerId)).balance;
    },
    entries: (actor: Actor, page: PageRequest) => ports.accounts.entries(customerOf(actor), page),
  },
  cart: {
    read: readCart(ports),
    putItem: putCartItem(ports),
    removeItem: removeCartItem(ports),
    clear: clearCart(ports),
  },
  campaigns: {
    create: createCampaign(ports),
    close: closeCampaign(ports),
    find: async (id: string) => withQueue(ports, found(await ports.coupons.campaign(id), 'campaign')),
    page: async (page: PageRequest) => {
      const { items, nextCursor } = await ports.coupons.campaigns(page);
      return { items: await Promise.all(items.map((campaign) => withQueue(ports, campaign))), nextCursor };
    },
    ranking: async (id: string, limit: number) => {
      const campaign = found(await ports.coupons.campaign(id), 'campaign');
      return { campaign, ranking: await ports.coupons.ranking(id, limit) };
    },
  },
  coupons: {
    ...claimCoupons(ports),
    held: (actor: Actor, { status }: { readonly status?: CouponStatus | undefined }, page: PageRequest) =>
      ports.coupons.held(customerOf(actor), { status, now: ports.now() }, page),
  },
  orders: {
    quote: quoteOrder(ports),
    place: placeOrder(ports),
    /** The sweeper's work. */
    expire: expireOrders(ports),
    find: async (actor: Actor, id: string) => found(await ports.orders.find(id, ownerFor(actor)), 'order'),
    page: (actor: Actor, filter: { readonly status?: OrderStatus | undefined }, page: PageRequest) =>
      ports.orders.page(ownerFor(actor), filter, page),
  },
  payments: {
    pay: payOrder(ports),
    find: async (actor: Actor, id: string) => found(await ports.orders.payment(id, ownerFor(actor)), 'payment'),
  },
});

export type Shop = ReturnType<typeof createShop>;
