import type { Money } from '../shared/money.ts';
import { refuse } from '../shared/refusal.ts';
import type { Instant } from '../shared/time.ts';

export type ProductStatus = 'on_sale' | 'hidden';

export interface Product {
  readonly id: string;
  readonly name: string;
  readonly category: string;
  readonly status: ProductStatus;
  /** The price of its cheapest variant, for sorting. */
  readonly lowestPrice: Money;
  readonly createdAt: Instant;
}

/**
 * A variant of a product, the unit that is sold. It carries what an order needs to know of its product,
 * so that an order holds this one row and a change of the product waits for the orders before it.
 */
export interface Sku {
  readonly sku: string;
  readonly productId: string;
  readonly productName: string;
  readonly productStatus: ProductStatus;
  /** Place among the product's variants, from 0. */
  readonly position: number;
  readonly name: string;
  readonly price: Money;
  /** On hand: what can be sold now. Never below 0. Stocked = on hand + held by live orders. */
  readonly stock: number;
}

/** Immutable: why stock came or went by hand. Σ delta of a SKU = stocked. */
export interface StockAdjustment {
  readonly id: string;
  readonly sku: string;
  /** Pieces, positive or negative, never 0. */
  readonly delta: number;
  readonly stock: number;
  readonly reason: string;
  readonly by: string;
  readonly createdAt: Instant;
}

/** A product as it is shown. */
export interface ProductView {
  readonly id: string;
  readonly name: string;
  readonly category: string;
  readonly status: ProductStatus;
  readonly variants: readonly { readonly sku: string; readonly name: string; readonly price: Money; readonly stock: number }[];
}

export const MAX_STOCK = 1_000_000_000;

export const viewOf = (product: Product, skus: readonly Sku[]): ProductView => ({
  id: product.id,
  name: product.name,
  category: product.category,
  status: product.status,
  variants: skus.toSorted((a, b) => a.position - b.position).map(({ sku, name, price, stock }) => ({ sku, name, price, stock })),
});

/** The cheapest of a product's prices, each of which is at least 1 won. */
export const lowestPrice = (variants: readonly { readonly sku: string; readonly price: Money }[]): Money => {
  const [first] = variants;
  if (!first) return refuse({ code: 'no_variants' });
  for (const { sku, price } of variants) if (price < 1) refuse({ code: 'invalid_price', sku });
  return variants.reduce((lowest, { price }) => (price < lowest ? price : lowest), first.price);
};

/** What a customer reads on an order line: the product, and the variant where it has a name of its own. */
export const lineName = (sku: Sku): string => (sku.name === sku.productName ? sku.name : `${sku.productName} ${sku.name}`);

/** Takes pieces for an order. Refuses a hidden product and a stock that does not reach. */
export const take = (sku: Sku, quantity: number): Sku => {
  if (sku.productStatus !== 'on_sale') refuse({ code: 'not_on_sale', sku: sku.sku });
  return changeStock(sku, -quantity);
};

/** Changes what is on hand by `delta` pieces. Refuses to go below zero or beyond what can be counted. */
export const changeStock = (sku: Sku, delta: number): Sku => {
  if (!Number.isSafeInteger(delta)) refuse({ code: 'invalid_delta', max: MAX_STOCK });
  const stock = sku.stock + delta;
  if (stock < 0) refuse({ code: 'insufficient_stock', sku: sku.sku, requested: -delta, available: sku.stock });
  if (stock > MAX_STOCK) refuse({ code: 'stock_limit', sku: sku.sku, max: MAX_STOCK });
  return { ...sku, stock };
};
