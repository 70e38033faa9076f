import { checkQuantity } from '../order/order.ts';
import type { Ports } from '../ports.ts';
import type { Actor } from '../shared/actor.ts';
import { type Caller, customerOf } from '../shared/actor.ts';
import { sum } from '../shared/money.ts';
import { found, refuse } from '../shared/refusal.ts';
import { type Cart, type CartView, emptyCart, lineOf, putItem, withoutItem } from './cart.ts';

type CartPorts = Pick<Ports, 'transact' | 'carts' | 'products'>;

const show = async (products: Ports['products'], cart: Cart): Promise<CartView> => {
  const skus = new Map((await products.skus(cart.items.map(({ sku }) => sku))).map((sku) => [sku.sku, sku]));
  const items = cart.items.flatMap((item) => {
    const sku = skus.get(item.sku);
    return sku ? [lineOf(item, sku)] : [];
  });
  return { items, total: sum(items.map(({ amount }) => amount)) };
};

/** The cart at today's prices and stock, with what changed since each item was put in. */
export const readCart =
  ({ carts, products }: CartPorts) =>
  async (actor: Actor): Promise<CartView> => {
    const customerId = customerOf(actor);
    return show(products, (await carts.find(customerId)) ?? emptyCart(customerId));
  };

/** Sets how many of a SKU are in the cart. It may be more than there are: the cart holds nothing back, and shows it. */
export const putCartItem =
  ({ transact, products }: CartPorts) =>
  async ({ actor }: Caller, { sku: code, quantity }: { readonly sku: string; readonly quantity: number }): Promise<CartView> => {
    const customerId = customerOf(actor);
    checkQuantity(code, quantity);
    const [read] = await products.skus([code]);
    const sku = found(read, 'sku');
    if (sku.productStatus !== 'on_sale') refuse({ code: 'not_on_sale', sku: code });
    const cart = await transact({ carts: [customerId] }, (books) => {
      const changed = putItem(books.get('carts', customerId) ?? emptyCart(customerId), {
        sku: code,
        quantity,
        unitPrice: sku.price,
        addedAt: books.now,
      });
      books.put('carts', changed);
      return changed;
    });
    return show(products, cart);
  };

/** Takes one SKU out. Refuses one that is not in it: `not_found`. */
export const removeCartItem =
  ({ transact }: CartPorts) =>
  async ({ actor }: Caller, { sku }: { readonly sku: string }): Promise<void> => {
    const customerId = customerOf(actor);
    await transact({ carts: [customerId] }, (books) => {
      const cart = books.get('carts', customerId) ?? emptyCart(customerId);
      found(
        cart.items.find((item) => item.sku === sku),
        'cart_item',
      );
      books.put('carts', withoutItem(cart, sku));
    });
  };

export const clearCart =
  ({ transact }: CartPorts) =>
  async ({ actor }: Caller): Promise<void> => {
    const customerId = customerOf(actor);
    await transact({ carts: [customerId] }, (books) => {
      if (books.get('carts', customerId)) books.put('carts', emptyCart(customerId));
    });
  };
