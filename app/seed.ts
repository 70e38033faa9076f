import type { Caller } from '../core/shared/actor.ts';
import { hours } from '../core/shared/time.ts';
import type { Shop } from '../core/shop.ts';

const products = [
  {
    name: 'Firstcome tee',
    category: 'clothing',
    variants: [
      { sku: 'TEE-BLACK-M', name: 'black, M', price: 29_000, stock: 100 },
      { sku: 'TEE-BLACK-L', name: 'black, L', price: 29_000, stock: 100 },
    ],
  },
  { name: 'Enamel mug', category: 'kitchen', variants: [{ sku: 'MUG-WHITE', name: 'Enamel mug', price: 4_500, stock: 250 }] },
  {
    name: 'Filter coffee 250 g',
    category: 'food',
    variants: [{ sku: 'COFFEE-250', name: 'Filter coffee 250 g', price: 3_000, stock: 500 }],
  },
  { name: 'Limited sneaker', category: 'shoes', variants: [{ sku: 'SNEAKER-270', name: '270 mm', price: 189_000, stock: 10 }] },
] as const;

/** Fills an empty shop with a few products and a campaign that is open; leaves any other alone. */
export const seedDemoShop = async (shop: Shop): Promise<void> => {
  const operator: Caller = { actor: { subject: 'demo', role: 'operator' } };
  const { items } = await shop.catalog.page(operator.actor, { sort: 'newest' }, { limit: 1 });
  if (items.length > 0) return;
  for (const product of products) {
    const once = { subject: 'demo', operation: 'seed', key: product.name, fingerprint: '', requestId: 'seed' };
    await shop.catalog.create({ ...operator, once }, { ...product, status: 'on_sale' });
  }
  const opensAt = Date.now();
  await shop.campaigns.create(operator, {
    name: 'Opening: 10 % for the first hundred',
    discount: { kind: 'percent', percent: 10 },
    minOrder: 3_000,
    maxDiscount: 10_000,
    quantity: 100,
    opensAt,
    closesAt: opensAt + hours(24 * 30),
    validDays: 30,
  });
};
