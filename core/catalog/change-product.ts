import { emit } from '../event/event.ts';
import type { Ports } from '../ports.ts';
import { type Caller, mustBeOperator } from '../shared/actor.ts';
import { won } from '../shared/money.ts';
import { found, refuse } from '../shared/refusal.ts';
import { lowestPrice, type Product, type ProductStatus, type ProductView, viewOf } from './product.ts';

export interface ChangeProduct {
  readonly id: string;
  readonly name?: string | undefined;
  readonly category?: string | undefined;
  readonly status?: ProductStatus | undefined;
  /** Only the variants that change. */
  readonly variants?:
    | readonly { readonly sku: string; readonly name?: string | undefined; readonly price?: number | undefined }[]
    | undefined;
}

/** Changes what a product is called, costs or whether it is sold. Orders keep what they were placed at. */
export const changeProduct =
  ({ transact, products, newId }: Pick<Ports, 'transact' | 'products' | 'newId'>) =>
  async ({ actor, once }: Caller, input: ChangeProduct): Promise<ProductView> => {
    mustBeOperator(actor);
    // A product's set of SKUs never changes, so what is read here names them all.
    const codes = ((await products.find(input.id))?.variants ?? []).map(({ sku }) => sku);
    return transact({ products: [input.id], skus: codes, once }, (books) => {
      const known = found(books.get('products', input.id), 'product');
      const changes = new Map<string, NonNullable<ChangeProduct['variants']>[number]>();
      for (const variant of input.variants ?? []) {
        if (!codes.includes(variant.sku)) found(null, 'sku');
        if (changes.has(variant.sku)) refuse({ code: 'duplicate_sku', sku: variant.sku });
        changes.set(variant.sku, variant);
      }
      const name = input.name ?? known.name;
      const status = input.status ?? known.status;
      const skus = codes.map((code) => {
        const sku = found(books.get('skus', code), 'sku');
        const change = changes.get(code);
        // A plain product's variant bears the product's name and follows it.
        const followed = sku.name === known.name ? name : sku.name;
        return {
          ...sku,
          productName: name,
          productStatus: status,
          name: change?.name ?? followed,
          price: change?.price === undefined ? sku.price : won(change.price),
        };
      });
      const product: Product = {
        ...known,
        name,
        status,
        category: input.category ?? known.category,
        lowestPrice: lowestPrice(skus),
      };
      books.put('products', product);
      for (const sku of skus) books.put('skus', sku);
      emit(books, newId(), 'product.changed', product.id, { productId: product.id });
      return viewOf(product, skus);
    });
  };
