import { describe, expect, test } from 'vitest';
import { MAX_STOCK } from '../../core/catalog/product.ts';
import type { ProductFilter } from '../../core/ports.ts';
import { once, openShop, refusalOf } from '../support/shop.ts';

const tee = {
  name: 'Tee',
  category: 'clothes',
  status: 'on_sale' as const,
  variants: [
    { sku: 'TEE-M', name: 'M', price: 12_000, stock: 3 },
    { sku: 'TEE-L', name: 'L', price: 11_000, stock: 0 },
  ],
};
const all = { limit: 100 };
const nowhere = '00000000-0000-7000-8000-ffffffffffff';

describe('creating a product', () => {
  test('shows it with its variants in the order in which they were given', async () => {
    const { shop, operator, anyone } = openShop();
    const product = await shop.catalog.create({ actor: operator }, tee);
    expect(product).toEqual({ id: product.id, ...tee });
    expect(await shop.catalog.find(anyone, product.id)).toEqual(product);
  });

  test('keeps why there is stock from the start, and nothing where there is none', async () => {
    const { shop, store, operator, clock } = openShop();
    await shop.catalog.create({ actor: operator }, tee);
    expect(store.facts.adjustments).toEqual([
      {
        id: expect.any(String),
        sku: 'TEE-M',
        delta: 3,
        stock: 3,
        reason: 'first stock',
        by: operator.subject,
        createdAt: clock.now,
      },
    ]);
  });

  test('tells others of it', async () => {
    const { shop, store, operator } = openShop();
    const { id } = await shop.catalog.create({ actor: operator }, tee);
    expect(store.facts.events).toMatchObject([{ type: 'product.created', subject: id, data: { productId: id } }]);
  });

  test.each([
    ['of another product', [{ sku: 'NEW' }, { sku: 'TEE-L' }], 'TEE-L'],
    ['of its own', [{ sku: 'NEW' }, { sku: 'NEW' }], 'NEW'],
  ])('refuses a SKU code %s and leaves nothing behind', async (_, variants, taken) => {
    const { shop, store, operator, product } = openShop();
    await shop.catalog.create({ actor: operator }, tee);
    const before = structuredClone(store.facts);
    expect(await refusalOf(product({ variants }))).toEqual({ code: 'sku_taken', sku: taken });
    expect(store.facts).toEqual(before);
    expect(await store.products.skus(['NEW'])).toEqual([]);
    expect((await shop.catalog.page(operator, { sort: 'newest' }, all)).items).toHaveLength(1);
  });

  test('gives a SKU code to one of ten who ask at once', async () => {
    const { product } = openShop();
    const answers = await Promise.all(Array.from({ length: 10 }, () => refusalOf(product({ sku: 'ONE' }))));
    expect(answers.filter((answer) => (answer as { code?: string }).code === 'sku_taken')).toHaveLength(9);
  });

  test('refuses more stock than can be counted', async () => {
    const { product } = openShop();
    const refusal = await refusalOf(product({ sku: 'SAND', stock: MAX_STOCK + 1 }));
    expect(refusal).toEqual({ code: 'stock_limit', sku: 'SAND', max: MAX_STOCK });
  });

  test('answers the same key with the same product', async () => {
    const { shop, operator } = openShop();
    const asked = { actor: operator, once: once(operator) };
    const product = await shop.catalog.create(asked, tee);
    expect(await shop.catalog.create(asked, tee)).toEqual(product);
    expect((await shop.catalog.page(operator, { sort: 'newest' }, all)).items).toEqual([product]);
  });
});

describe('changing a product', () => {
  test('changes what is named and keeps the rest', async () => {
    const { shop, operator, anyone } = openShop();
    const { id } = await shop.catalog.create({ actor: operator }, tee);
    const change = { id, category: 'shirts', variants: [{ sku: 'TEE-L', price: 9_000 }] };
    const changed = await shop.catalog.change({ actor: operator }, change);
    const [medium, large] = tee.variants;
    expect(changed).toEqual({ id, ...tee, category: 'shirts', variants: [medium, { ...large, price: 9_000 }] });
    expect(await shop.catalog.find(anyone, id)).toEqual(changed);
  });

  test('takes the name of a plain product along to its variant, and lets a variant keep a name of its own', async () => {
    const { shop, operator, product } = openShop();
    const plain = await product({ name: 'socks' });
    const { id } = await shop.catalog.create({ actor: operator }, tee);
    const renamed = await shop.catalog.change({ actor: operator }, { id: plain.id, name: 'stockings' });
    expect(renamed.variants).toMatchObject([{ name: 'stockings' }]);
    const shirt = await shop.catalog.change({ actor: operator }, { id, name: 'Shirt', variants: [{ sku: 'TEE-L', name: 'XL' }] });
    expect(shirt).toMatchObject({ name: 'Shirt', variants: [{ name: 'M' }, { name: 'XL' }] });
  });

  test('gives later orders the new name, also where the variant has one of its own', async () => {
    const { shop, operator, customer, ordered } = openShop();
    const { id } = await shop.catalog.create({ actor: operator }, tee);
    await shop.catalog.change({ actor: operator }, { id, name: 'Shirt' });
    expect(await ordered(customer(), { sku: 'TEE-M' })).toMatchObject({ lines: [{ name: 'Shirt M' }] });
  });

  test('keeps the stock that orders and restocks left', async () => {
    const { shop, operator, product, customer, ordered } = openShop();
    const socks = await product({ stock: 5 });
    await ordered(customer(), socks, 2);
    const changed = await shop.catalog.change({ actor: operator }, { id: socks.id, name: 'stockings' });
    expect(changed.variants).toMatchObject([{ stock: 3 }]);
  });

  test("moves it in the lists that sort by price, by its cheapest variant's price", async () => {
    const { shop, operator, anyone, product } = openShop();
    const cheap = await product({ variants: [{ price: 9_000 }, { price: 2_000 }] });
    const dear = await product({ price: 3_000 });
    const names = async () => (await shop.catalog.page(anyone, { sort: 'price_asc' }, all)).items.map(({ id }) => id);
    expect(await names()).toEqual([cheap.id, dear.id]);
    await shop.catalog.change({ actor: operator }, { id: dear.id, variants: [{ sku: dear.sku, price: 1_000 }] });
    expect(await names()).toEqual([dear.id, cheap.id]);
  });

  test('refuses a product that is not there', async () => {
    const { shop, operator } = openShop();
    const asked = shop.catalog.change({ actor: operator }, { id: nowhere, name: 'x' });
    expect(await refusalOf(asked)).toEqual({ code: 'not_found', what: 'product' });
  });

  test("refuses another product's SKU and changes nothing", async () => {
    const { shop, operator, anyone, product } = openShop();
    const [socks, hat] = [await product({ name: 'socks' }), await product({ name: 'hat' })];
    const change = { id: socks.id, name: 'stockings', variants: [{ sku: hat.sku, price: 1 }] };
    expect(await refusalOf(shop.catalog.change({ actor: operator }, change))).toEqual({ code: 'not_found', what: 'sku' });
    expect(await shop.catalog.find(anyone, socks.id)).toMatchObject({ name: 'socks' });
    expect(await shop.catalog.find(anyone, hat.id)).toMatchObject({ variants: [{ price: 1_000 }] });
  });

  test('tells others of it', async () => {
    const { shop, store, operator, product } = openShop();
    const { id } = await product();
    await shop.catalog.change({ actor: operator }, { id, name: 'x' });
    expect(store.facts.events.at(-1)).toMatchObject({ type: 'product.changed', subject: id, data: { productId: id } });
  });
});

describe('adjusting stock', () => {
  test('puts pieces on hand and takes them off, down to none, and keeps why', async () => {
    const { shop, store, operator, anyone, product, clock } = openShop();
    const { id, sku } = await product({ stock: 0 });
    const came = await shop.catalog.adjustStock({ actor: operator }, { sku, delta: 7, reason: 'delivery' });
    expect(came).toEqual({
      id: came.id,
      sku,
      delta: 7,
      stock: 7,
      reason: 'delivery',
      by: operator.subject,
      createdAt: clock.now,
    });
    const went = await shop.catalog.adjustStock({ actor: operator }, { sku, delta: -7, reason: 'water damage' });
    expect(went).toMatchObject({ delta: -7, stock: 0, reason: 'water damage' });
    expect(await shop.catalog.find(anyone, id)).toMatchObject({ variants: [{ stock: 0 }] });
    expect(store.facts.adjustments).toEqual([came, went]);
    expect(store.facts.events.at(-1)).toMatchObject({
      type: 'stock.adjusted',
      subject: id,
      data: { productId: id, sku, delta: -7, stock: 0 },
    });
  });

  test('never goes below zero', async () => {
    const { shop, operator, store, product } = openShop();
    const { sku } = await product({ stock: 3 });
    const asked = shop.catalog.adjustStock({ actor: operator }, { sku, delta: -4, reason: 'count' });
    expect(await refusalOf(asked)).toEqual({ code: 'insufficient_stock', sku, requested: 4, available: 3 });
    expect(await store.products.skus([sku])).toMatchObject([{ stock: 3 }]);
    expect(store.facts.adjustments).toHaveLength(1);
  });

  test('never goes beyond what can be counted', async () => {
    const { shop, operator, product } = openShop();
    const { sku } = await product({ stock: 3 });
    const restock = (delta: number) => shop.catalog.adjustStock({ actor: operator }, { sku, delta, reason: 'delivery' });
    expect(await refusalOf(restock(MAX_STOCK - 2))).toEqual({ code: 'stock_limit', sku, max: MAX_STOCK });
    expect(await restock(MAX_STOCK - 3)).toMatchObject({ stock: MAX_STOCK });
  });

  test('refuses a SKU that is not there', async () => {
    const { shop, operator } = openShop();
    const asked = shop.catalog.adjustStock({ actor: operator }, { sku: 'NOTHING', delta: 1, reason: 'x' });
    expect(await refusalOf(asked)).toEqual({ code: 'not_found', what: 'sku' });
  });

  test('counts once for one key', async () => {
    const { shop, store, operator, product } = openShop();
    const { sku } = await product({ stock: 3 });
    const asked = { actor: operator, once: once(operator) };
    const restock = () => shop.catalog.adjustStock(asked, { sku, delta: 5, reason: 'delivery' });
    expect(await restock()).toEqual(await restock());
    expect(await store.products.skus([sku])).toMatchObject([{ stock: 8 }]);
  });
});

test('customers and strangers change nothing in the catalog', async () => {
  const { shop, store, anyone, customer, product } = openShop();
  const { id, sku } = await product({ stock: 3 });
  const before = structuredClone(store.facts);
  for (const actor of [anyone, customer()]) {
    const asked = [
      shop.catalog.create({ actor }, tee),
      shop.catalog.change({ actor }, { id, name: 'mine' }),
      shop.catalog.adjustStock({ actor }, { sku, delta: 1, reason: 'please' }),
    ];
    expect(await Promise.all(asked.map(refusalOf))).toEqual(asked.map(() => ({ code: 'forbidden' })));
  }
  expect(store.facts).toEqual(before);
});

describe('a hidden product', () => {
  const hiddenSocks = async () => {
    const world = openShop();
    const socks = await world.product({ name: 'socks' });
    await world.shop.catalog.change({ actor: world.operator }, { id: socks.id, status: 'hidden' });
    return { ...world, socks };
  };

  test('answers customers and strangers like one that does not exist', async () => {
    const { shop, anyone, customer, operator, socks } = await hiddenSocks();
    for (const actor of [anyone, customer()]) {
      const missing = await refusalOf(shop.catalog.find(actor, nowhere));
      expect(missing).toEqual({ code: 'not_found', what: 'product' });
      expect(await refusalOf(shop.catalog.find(actor, socks.id))).toEqual(missing);
    }
    expect(await shop.catalog.find(operator, socks.id)).toMatchObject({ status: 'hidden' });
  });

  test('stands in no list but the operator’s, whatever is asked for', async () => {
    const { shop, anyone, customer, operator, product } = await hiddenSocks();
    await product({ name: 'hat' });
    const names = async (actor: typeof anyone, filter: Partial<ProductFilter>) =>
      (await shop.catalog.page(actor, { sort: 'newest', ...filter }, all)).items.map(({ name }) => name);
    expect(await names(anyone, {})).toEqual(['hat']);
    expect(await names(customer(), { status: 'hidden' })).toEqual([]);
    expect(await names(operator, {})).toEqual(['hat', 'socks']);
    expect(await names(operator, { status: 'hidden' })).toEqual(['socks']);
    expect(await names(operator, { status: 'on_sale' })).toEqual(['hat']);
  });

  test('comes back when it is put on sale again', async () => {
    const { shop, anyone, operator, customer, ordered, socks } = await hiddenSocks();
    await shop.catalog.change({ actor: operator }, { id: socks.id, status: 'on_sale' });
    expect(await shop.catalog.find(anyone, socks.id)).toMatchObject({ status: 'on_sale' });
    expect(await ordered(customer(), socks)).toMatchObject({ status: 'pending' });
  });
});

describe('browsing', () => {
  test('shows the stock as it is at that moment', async () => {
    const { shop, anyone, product, customer, ordered } = openShop();
    const socks = await product({ stock: 5 });
    await ordered(customer(), socks, 2);
    expect(await shop.catalog.find(anyone, socks.id)).toMatchObject({ variants: [{ stock: 3 }] });
    expect((await shop.catalog.page(anyone, { sort: 'newest' }, all)).items).toMatchObject([{ variants: [{ stock: 3 }] }]);
  });

  test('finds by category, and by part of the name in any case', async () => {
    const { shop, anyone, product } = openShop();
    await product({ name: 'Red Socks', category: 'clothes' });
    await product({ name: 'Blue socks', category: 'gifts' });
    await product({ name: 'Red hat', category: 'clothes' });
    const names = async (filter: Partial<ProductFilter>) =>
      (await shop.catalog.page(anyone, { sort: 'newest', ...filter }, all)).items.map(({ name }) => name);
    expect(await names({ category: 'clothes' })).toEqual(['Red hat', 'Red Socks']);
    expect(await names({ search: 'SOCKS' })).toEqual(['Blue socks', 'Red Socks']);
    expect(await names({ search: 'red', category: 'clothes' })).toEqual(['Red hat', 'Red Socks']);
    expect(await names({ search: 'red', category: 'gifts' })).toEqual([]);
    expect(await names({ search: '%' })).toEqual([]);
  });

  test.each([
    ['newest', ['c', 'b', 'd', 'a']],
    ['price_asc', ['d', 'a', 'b', 'c']],
    ['price_desc', ['c', 'b', 'a', 'd']],
    ['name', ['a', 'b', 'c', 'd']],
  ] as const)('sorts by %s', async (sort, expected) => {
    const { shop, anyone, product } = openShop();
    await product({ name: 'a', price: 2_000 });
    await product({ name: 'd', price: 1_000 });
    await product({ name: 'b', price: 2_000 });
    await product({ name: 'c', price: 10_000 });
    const { items } = await shop.catalog.page(anyone, { sort }, all);
    expect(items.map(({ name }) => name)).toEqual(expected);
  });
});
