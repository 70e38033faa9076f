import { describe, expect, test } from 'vitest';
import { MAX_CART_ITEMS } from '../../core/cart/cart.ts';
import type { Actor } from '../../core/shared/actor.ts';
import { openShop, refusalOf } from '../support/shop.ts';

const kimsCart = () => {
  const world = openShop();
  const kim = world.customer();
  const put = ({ sku }: { readonly sku: string }, quantity = 1, actor: Actor = kim) =>
    world.shop.cart.putItem({ actor }, { sku, quantity });
  const remove = ({ sku }: { readonly sku: string }) => world.shop.cart.removeItem({ actor: kim }, { sku });
  const change = (id: string, changes: object) => world.shop.catalog.change({ actor: world.operator }, { id, ...changes });
  return { ...world, kim, put, remove, change, read: () => world.shop.cart.read(kim) };
};

describe('putting in', () => {
  test('shows lines in the order in which they came, and what they cost together', async () => {
    const { put, read, product, clock } = kimsCart();
    const socks = await product({ name: 'socks', price: 1_000, stock: 5 });
    const tee = await product({ name: 'Tee', variants: [{ name: 'M', price: 3_000, stock: 9 }] });
    const addedAt = clock.now;
    await put(socks, 2);
    clock.advance(1_000);
    const cart = await put(tee, 1);
    const unchanged = { status: 'on_sale', changes: [] };
    expect(cart).toEqual({
      items: [
        {
          ...unchanged,
          sku: socks.sku,
          productId: socks.id,
          name: 'socks',
          quantity: 2,
          unitPrice: 1_000,
          unitPriceWhenAdded: 1_000,
          amount: 2_000,
          stock: 5,
          addedAt,
        },
        {
          ...unchanged,
          sku: tee.sku,
          productId: tee.id,
          name: 'Tee M',
          quantity: 1,
          unitPrice: 3_000,
          unitPriceWhenAdded: 3_000,
          amount: 3_000,
          stock: 9,
          addedAt: addedAt + 1_000,
        },
      ],
      total: 5_000,
    });
    expect(await read()).toEqual(cart);
  });

  test('again sets the quantity, in the same place', async () => {
    const { put, product } = kimsCart();
    const [socks, hat] = [await product(), await product()];
    await put(socks, 2);
    await put(hat, 1);
    expect(await put(socks, 7)).toMatchObject({
      items: [
        { sku: socks.sku, quantity: 7 },
        { sku: hat.sku, quantity: 1 },
      ],
      total: 8_000,
    });
  });

  test('holds nothing back from anybody else', async () => {
    const { put, product, customer, ordered, shop, anyone } = kimsCart();
    const socks = await product({ stock: 3 });
    await put(socks, 3);
    expect(await shop.catalog.find(anyone, socks.id)).toMatchObject({ variants: [{ stock: 3 }] });
    await ordered(customer(), socks, 3);
  });

  test('refuses a SKU that is not there', async () => {
    const { put, read } = kimsCart();
    expect(await refusalOf(put({ sku: 'NOTHING' }))).toEqual({ code: 'not_found', what: 'sku' });
    expect(await read()).toEqual({ items: [], total: 0 });
  });

  test('refuses a hidden product', async () => {
    const { put, product, read } = kimsCart();
    const socks = await product({ status: 'hidden' });
    expect(await refusalOf(put(socks))).toEqual({ code: 'not_on_sale', sku: socks.sku });
    expect(await read()).toEqual({ items: [], total: 0 });
  });

  test('stops when the cart is full, but still changes what is in it', async () => {
    const { put, product } = kimsCart();
    const variants = Array.from({ length: MAX_CART_ITEMS + 1 }, (_, i) => ({ sku: `SKU-${i}` }));
    const [first, ...others] = (await product({ variants })).variants;
    for (const sku of others) await put(sku);
    expect(await refusalOf(put(first as { sku: string }))).toEqual({ code: 'cart_full', max: MAX_CART_ITEMS });
    const cart = await put(others[0] as { sku: string }, 9);
    expect(cart.items).toHaveLength(MAX_CART_ITEMS);
    expect(cart.items[0]).toMatchObject({ quantity: 9 });
  });
});

describe('what changed since', () => {
  test('is shown at the price of now', async () => {
    const { put, read, change, product } = kimsCart();
    const socks = await product({ price: 1_000 });
    await put(socks, 2);
    await change(socks.id, { variants: [{ sku: socks.sku, price: 1_200 }] });
    expect(await read()).toMatchObject({
      items: [{ unitPrice: 1_200, unitPriceWhenAdded: 1_000, amount: 2_400, changes: ['price_changed'] }],
      total: 2_400,
    });
  });

  test('is told of stock that no longer reaches, and of more than there ever was', async () => {
    const { put, read, product, customer, ordered } = kimsCart();
    const socks = await product({ stock: 3 });
    expect(await put(socks, 4)).toMatchObject({ items: [{ stock: 3, changes: ['insufficient_stock'] }] });
    expect(await put(socks, 3)).toMatchObject({ items: [{ changes: [] }] });
    await ordered(customer(), socks, 1);
    expect(await read()).toMatchObject({ items: [{ stock: 2, quantity: 3, changes: ['insufficient_stock'] }] });
  });

  test('is told of goods that are no longer on sale, together with the rest', async () => {
    const { put, read, change, product } = kimsCart();
    const socks = await product({ price: 1_000, stock: 1 });
    await put(socks, 2);
    await change(socks.id, { status: 'hidden', variants: [{ sku: socks.sku, price: 900 }] });
    expect(await read()).toMatchObject({
      items: [{ status: 'hidden', changes: ['not_on_sale', 'insufficient_stock', 'price_changed'] }],
    });
  });

  test('is forgotten when the item is put in again', async () => {
    const { put, change, product } = kimsCart();
    const socks = await product({ price: 1_000 });
    await put(socks, 2);
    await change(socks.id, { variants: [{ sku: socks.sku, price: 1_200 }] });
    expect(await put(socks, 2)).toMatchObject({ items: [{ unitPriceWhenAdded: 1_200, changes: [] }] });
  });
});

describe('taking out', () => {
  test('takes out one SKU', async () => {
    const { put, remove, read, product } = kimsCart();
    const [socks, hat] = [await product(), await product({ price: 4_000 })];
    await put(socks);
    await put(hat);
    await remove(socks);
    expect(await read()).toMatchObject({ items: [{ sku: hat.sku }], total: 4_000 });
  });

  test('refuses a SKU that is not in the cart', async () => {
    const { put, remove, read, product } = kimsCart();
    const [socks, hat] = [await product(), await product()];
    expect(await refusalOf(remove(socks))).toEqual({ code: 'not_found', what: 'cart_item' });
    await put(hat);
    expect(await refusalOf(remove(socks))).toEqual({ code: 'not_found', what: 'cart_item' });
    expect(await read()).toMatchObject({ items: [{ sku: hat.sku }] });
  });

  test('takes out everything, and nothing from an empty cart', async () => {
    const { put, shop, kim, read, product, store } = kimsCart();
    await shop.cart.clear({ actor: kim });
    expect(await store.carts.find(kim.subject)).toBeNull();
    await put(await product());
    await put(await product());
    await shop.cart.clear({ actor: kim });
    expect(await read()).toEqual({ items: [], total: 0 });
  });
});

test("nobody sees or changes another customer's cart", async () => {
  const { put, shop, read, product, customer } = kimsCart();
  const [socks, lee] = [await product(), customer()];
  await put(socks, 2);
  expect(await shop.cart.read(lee)).toEqual({ items: [], total: 0 });
  await put(socks, 5, lee);
  await shop.cart.clear({ actor: lee });
  expect(await read()).toMatchObject({ items: [{ quantity: 2 }] });
});

test('only customers have a cart', async () => {
  const { shop, put, product, anyone, operator } = kimsCart();
  const socks = await product();
  for (const actor of [anyone, operator]) {
    const asked = [
      shop.cart.read(actor),
      put(socks, 1, actor),
      shop.cart.removeItem({ actor }, socks),
      shop.cart.clear({ actor }),
    ];
    expect(await Promise.all(asked.map(refusalOf))).toEqual(asked.map(() => ({ code: 'forbidden' })));
  }
});
