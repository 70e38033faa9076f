import { emit } from '../event/event.ts';
import type { Ports } from '../ports.ts';
import { type Caller, mustBeOperator } from '../shared/actor.ts';
import { won } from '../shared/money.ts';
import { refuse } from '../shared/refusal.ts';
import { changeStock, lowestPrice, type Product, type ProductStatus, type ProductView, type Sku, viewOf } from './product.ts';

export interface CreateProduct {
  readonly name: string;
  readonly category: string;
  readonly status: ProductStatus;
  /** At least one; a plain product has one. `stock` is what is on hand from the start. */
  readonly variants: readonly { readonly sku: string; readonly name: string; readonly price: number; readonly stock: number }[];
}

/** A new product with its SKUs. A SKU code serves once in the shop: `sku_taken`. */
export const createProduct =
  ({ transact, newId }: Pick<Ports, 'transact' | 'newId'>) =>
  async ({ actor, once }: Caller, input: CreateProduct): Promise<ProductView> => {
    mustBeOperator(actor);
    return transact({ skus: input.variants.map(({ sku }) => sku), once }, (books) => {
      const variants = input.variants.map((variant) => ({ ...variant, price: won(variant.price) }));
      const product: Product = {
        id: newId(),
        name: input.name,
        category: input.category,
        status: input.status,
        lowestPrice: lowestPrice(variants),
        createdAt: books.now,
      };
      books.create('products', product);
      const skus = variants.map(({ sku: code, name, price, stock }, position): Sku => {
        if (books.get('skus', code)) refuse({ code: 'sku_taken', sku: code });
        const empty: Sku = {
          sku: code,
          productId: product.id,
          productName: product.name,
          productStatus: product.status,
          position,
          name,
          price,
          stock: 0,
        };
        const sku = changeStock(empty, stock);
        books.put('skus', sku);
        if (stock > 0)
          books.append('adjustments', {
            id: newId(),
            sku: code,
            delta: stock,
            stock,
            reason: 'first stock',
            by: actor.subject,
            createdAt: books.now,
          });
        return sku;
      });
      const view = viewOf(product, skus);
      emit(books, newId(), 'product.created', product.id, { productId: product.id });
      return view;
    });
  };
