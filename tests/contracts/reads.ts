import { expect } from 'vitest';
import { newUuid } from '../../adapters/system/system.ts';
import { accountName, type Transfer } from '../../core/balance/account.ts';
import type { Transact } from '../../core/books.ts';
import type { Product, ProductView, Sku } from '../../core/catalog/product.ts';
import { viewOf } from '../../core/catalog/product.ts';
import type { Order } from '../../core/order/order.ts';
import type { ProductFilter } from '../../core/ports.ts';
import { won } from '../../core/shared/money.ts';
import type { Page, PageRequest } from '../../core/shared/page.ts';
import { type Checks, type MakeStoreWorld, newAccount, newOrder, newProduct, newSku, refusalOf, runChecks } from './world.ts';

/** Ids in order: those that are made within one millisecond may come in any. */
const newIds = (count: number): string[] => Array.from({ length: count }, newUuid).toSorted();

/** Products with a SKU each, in the order of the list: each is newer than the one before it. */
const givenProducts = async (transact: Transact, list: readonly Partial<Product>[]): Promise<ProductView[]> => {
  const ids = newIds(list.length);
  const made: { product: Product; sku: Sku }[] = list.map((changes, i) => {
    const product = newProduct({ id: ids[i] as string, ...changes });
    return { product, sku: newSku(product, { stock: 3 }) };
  });
  await transact({}, (books) => {
    for (const { product, sku } of made) {
      books.create('products', product);
      books.create('skus', sku);
    }
  });
  return made.map(({ product, sku }) => viewOf(product, [sku]));
};

type Ask<T> = (page: PageRequest) => Promise<Page<T>>;

/** All pages, from the first to the last. `between` runs after each page. */
const walk = async <T>(ask: Ask<T>, limit: number, between: () => Promise<unknown> = async () => {}): Promise<T[]> => {
  const items: T[] = [];
  let cursor: string | undefined;
  for (;;) {
    const page = await ask({ limit, cursor });
    if (page.nextCursor !== null) expect(page.items).toHaveLength(limit);
    expect(page.items.length).toBeLessThanOrEqual(limit);
    items.push(...page.items);
    if (page.nextCursor === null) return items;
    cursor = page.nextCursor;
    await between();
  }
};

/** Every walk, whatever its step, shows exactly these, in this order. */
const expectWalks = async <T>(ask: Ask<T>, expected: readonly T[]): Promise<void> => {
  for (const limit of [1, 2, 7, expected.length || 1, 100]) expect(await walk(ask, limit)).toEqual(expected);
};

const idsOf = (items: readonly { readonly id: string }[]): string[] => items.map(({ id }) => id);

/** While rows arrive, a walk still shows each of the old ones once, in order, and none twice. */
const expectStable = async <T extends { readonly id: string }>(
  ask: Ask<T>,
  expected: readonly T[],
  arrive: () => Promise<unknown>,
): Promise<void> => {
  for (const limit of [1, 2, 7]) {
    const known = idsOf(limit === 1 ? expected : await walk(ask, 100));
    // They stop coming at some time: a walk that they outrun would never end.
    let arrivals = 5;
    const ids = idsOf(await walk(ask, limit, async () => (arrivals-- > 0 ? arrive() : null)));
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.filter((id) => known.includes(id))).toEqual(known);
  }
};

/** Values of another type than the part of a cursor that they stand in for. */
const unlike = (part: unknown): unknown[] => {
  const uuid = newUuid();
  if (typeof part === 'number') return ['1', null, true, 1.5, 2 ** 53, -(2 ** 53), 1e300, [1], {}];
  if (!/^[0-9a-f-]{36}$/.test(String(part))) return [1, null, true, ['a'], {}];
  const texts = [
    '',
    'not a uuid',
    `${uuid} `,
    uuid.slice(1),
    `${uuid.slice(0, -1)}g`,
    `{${uuid}}`,
    "'; drop table orders; --",
    'x'.repeat(1_000_000),
  ];
  return [...texts, 1, null, true, [uuid], { uuid }];
};

/** What nobody got as a cursor, made of one that somebody got. */
const spoiled = (real: string): string[] => {
  const parts: unknown[] = JSON.parse(real);
  const json = (value: unknown) => JSON.stringify(value);
  return [
    ...['', ' ', 'x', 'null', 'true', '1', '""', '{}', '[]', '[null]', '[[]]', '[""]', '['.repeat(100_000)],
    `${'['.repeat(10_000)}${']'.repeat(10_000)}`,
    real.slice(0, -1),
    `${real}]`,
    json({ ...parts }),
    json([...parts, newUuid()]),
    json(parts.slice(0, -1)),
    json(parts.slice(1)),
    json(parts.toReversed()),
    ...parts.flatMap((part, i) => unlike(part).map((wrong) => json(parts.with(i, wrong)))),
    ...parts.flatMap((part, i) =>
      typeof part === 'number' ? ['1e999', 'NaN', '0x1'].map((raw) => json(parts.with(i, '#')).replace('"#"', raw)) : [],
    ),
  ];
};

const expectInvalid = async (ask: Ask<unknown>, spoil: (real: string) => readonly string[]): Promise<void> => {
  const { nextCursor } = await ask({ limit: 1 });
  for (const cursor of spoil(nextCursor as string)) {
    const refusal = await refusalOf(ask({ limit: 1, cursor }));
    expect([cursor.slice(0, 120), refusal]).toEqual([cursor.slice(0, 120), { code: 'invalid_cursor' }]);
  }
};

const sorts = ['newest', 'price_asc', 'price_desc', 'name'] as const;

/** 15 products: names and prices with ties, in an order that is none of the sorts. */
const assortment = (category: string): Partial<Product>[] =>
  Array.from({ length: 15 }, (_, i) => ({
    category,
    name: ['pear', 'apple', 'fig', 'cherry', 'banana'][(i * 3) % 5] as string,
    lowestPrice: won([3_000, 1_000, 2_000, 1_000][i % 4] as number),
    status: i % 5 === 4 ? 'hidden' : 'on_sale',
  }));

const sorted = (views: readonly ProductView[], sort: ProductFilter['sort']): ProductView[] => {
  const price = (view: ProductView) => view.variants[0]?.price ?? 0;
  const byId = (a: ProductView, b: ProductView) => (a.id < b.id ? -1 : 1);
  const byName = (a: ProductView, b: ProductView) => (a.name < b.name ? -1 : a.name > b.name ? 1 : byId(a, b));
  const byPrice = (a: ProductView, b: ProductView) => price(a) - price(b) || byId(a, b);
  if (sort === 'newest') return views.toSorted(byId).toReversed();
  if (sort === 'name') return views.toSorted(byName);
  return sort === 'price_asc' ? views.toSorted(byPrice) : views.toSorted(byPrice).toReversed();
};

/** The ledger of one customer: charges, payments and a refund, oldest first. */
const givenLedger = async (transact: Transact, customerId: string, count: number): Promise<Transfer[]> => {
  const own = accountName(customerId);
  const ids = newIds(count);
  let balance = 0;
  const transfers = Array.from({ length: count }, (_, i): Transfer => {
    const kind = (['charge', 'payment', 'refund'] as const)[i % 3] as Transfer['kind'];
    const amount = won(1_000 * (i + 1));
    balance += kind === 'payment' ? -amount : amount;
    const sides = { charge: ['cash_in', own], payment: [own, 'revenue'], refund: ['revenue', own] } as const;
    const [from, to] = sides[kind];
    const orderId = kind === 'charge' ? null : newUuid();
    return {
      id: ids[i] as string,
      kind,
      from,
      to,
      amount,
      balance: won(Math.max(balance, 0)),
      orderId,
      createdAt: 1_700_000_000_000 + i,
    };
  });
  await transact({}, (books) => {
    for (const transfer of transfers) books.append('transfers', transfer);
  });
  return transfers;
};

const givenOrders = async (transact: Transact, list: readonly Partial<Order>[]): Promise<Order[]> => {
  const ids = newIds(list.length);
  const orders = list.map((changes, i) => newOrder({ id: ids[i] as string, ...changes }));
  await transact({}, (books) => {
    for (const order of orders) books.create('orders', order);
  });
  return orders;
};

const paidOrder = (customerId: string): Order => {
  const order = newOrder({ customerId, status: 'paid' });
  const payment = {
    id: newUuid(),
    orderId: order.id,
    customerId,
    method: 'balance',
    amount: order.total,
    paidAt: 1_700_000_000_500,
  };
  return { ...order, payment: payment as Order['payment'] };
};

export const readChecks: Checks = {
  async 'what does not exist is null'({ reads }) {
    const id = newUuid();
    expect(await reads.customers.find(id)).toBeNull();
    expect(await reads.customers.login('nobody@example.com')).toBeNull();
    expect(await reads.customers.session(id)).toBeNull();
    expect(await reads.products.find(id)).toBeNull();
    expect(await reads.products.skus([id])).toEqual([]);
    expect(await reads.products.skus([])).toEqual([]);
    expect(await reads.accounts.find(id)).toBeNull();
    expect(await reads.carts.find(id)).toBeNull();
    expect(await reads.orders.find(id, null)).toBeNull();
    expect(await reads.orders.payment(id, null)).toBeNull();
    const nothing = { items: [], nextCursor: null };
    expect(await reads.accounts.entries(id, { limit: 5 })).toEqual(nothing);
    expect(await reads.orders.page(id, {}, { limit: 5 })).toEqual(nothing);
    expect(await reads.orders.page(null, {}, { limit: 5 })).toEqual(nothing);
    for (const sort of sorts) expect(await reads.products.page({ sort }, { limit: 5 })).toEqual(nothing);
  },

  async 'what no id can be is null, and disturbs nobody who asks at the same time'({ transact, reads }) {
    const [view] = await givenProducts(transact, [{}]);
    for (const id of ['', 'x', "'", '👻', `${newUuid()}0`, newUuid().replaceAll('-', '!')]) {
      const found = await Promise.all([
        reads.products.find(id),
        reads.orders.find(id, null),
        reads.orders.payment(id, null),
        reads.customers.session(id),
        reads.products.find((view as ProductView).id),
      ]);
      expect(found).toEqual([null, null, null, null, view]);
    }
  },

  async 'a product has its variants in their places, with the stock of this moment'({ transact, other, reads }) {
    const product = newProduct();
    const skus = [2, 0, 3, 1].map((position) =>
      newSku(product, { position, name: `size ${position}`, price: won(1_000 + position), stock: 5 }),
    );
    await transact({}, (books) => {
      books.create('products', product);
      for (const sku of skus) books.create('skus', sku);
    });
    expect(await reads.products.find(product.id)).toEqual(viewOf(product, skus));
    const first = skus.find(({ position }) => position === 0) as Sku;
    for (let stock = 4; stock >= 0; stock--) {
      await (stock % 2 ? transact : other)({ skus: [first.sku] }, (books) => books.put('skus', { ...first, stock }));
      expect((await reads.products.find(product.id))?.variants[0]?.stock).toBe(stock);
      expect((await reads.products.skus([first.sku]))[0]?.stock).toBe(stock);
      expect((await reads.products.page({ sort: 'newest' }, { limit: 1 })).items[0]?.variants[0]?.stock).toBe(stock);
    }
  },

  async 'many who ask for products at once each get the one they asked for'({ transact, reads }) {
    const views = await givenProducts(transact, assortment('asked'));
    const asked = Array.from({ length: 300 }, (_, i) => (i % 16 === 15 ? null : (views[i % 16] as ProductView)));
    expect(await Promise.all(asked.map((view) => reads.products.find(view?.id ?? newUuid())))).toEqual(asked);
  },

  async 'finds the SKUs that exist among those asked for'({ transact, reads }) {
    const product = newProduct();
    const codes = ['NULL', 'a"b', 'a\\b', '{a,b}', "it's", '양말', 'A', 'a', ''];
    const skus = codes.map((sku, position) => newSku(product, { sku, position }));
    await transact({}, (books) => {
      books.create('products', product);
      for (const sku of skus) books.create('skus', sku);
    });
    const found = await reads.products.skus([...codes, 'none', 'A ', 'a%']);
    expect(found).toHaveLength(codes.length);
    expect(new Set(found)).toEqual(new Set(skus));
  },

  async 'products come in every order, each once, whatever the step'({ transact, reads }) {
    const views = await givenProducts(transact, assortment('all'));
    for (const sort of sorts) await expectWalks((page) => reads.products.page({ sort }, page), sorted(views, sort));
  },

  async 'filters by category, status and part of the name, together or alone'({ transact, reads }) {
    const views = [
      ...(await givenProducts(transact, assortment('fruit'))),
      ...(await givenProducts(transact, assortment('Fruit'))),
      ...(await givenProducts(transact, assortment('과일'))),
    ];
    for (const category of [undefined, 'fruit', '과일', 'fru', 'none'])
      for (const status of [undefined, 'on_sale', 'hidden'] as const)
        for (const search of [undefined, 'an', 'E', 'nothing like it']) {
          const matching = views.filter(
            (view) =>
              (category === undefined || view.category === category) &&
              (status === undefined || view.status === status) &&
              (search === undefined || view.name.includes(search.toLowerCase())),
          );
          for (const sort of sorts) {
            const ask: Ask<ProductView> = (page) => reads.products.page({ category, status, search, sort }, page);
            expect(await walk(ask, 7)).toEqual(sorted(matching, sort));
          }
        }
  },

  async 'a search means what it says, in any case'({ transact, reads }) {
    const names = [
      '100% wool',
      '100 wool',
      'a_b',
      'axb',
      'a\\b',
      'a\\_b',
      '%',
      '_',
      "it's",
      '"quoted"',
      'CAFÉ noir',
      '양말 Ωmega',
      '[a-z]*',
    ];
    const views = await givenProducts(
      transact,
      names.map((name) => ({ name })),
    );
    const searches = [
      '%',
      '_',
      '\\',
      '\\_',
      '0%',
      'A_B',
      'a\\',
      "'",
      '"',
      'café',
      'É N',
      '양말',
      'ωMEGA',
      '[a',
      '',
      ' ',
      '%%',
      '__',
      '.*',
    ];
    for (const search of searches) {
      const { items } = await reads.products.page({ sort: 'newest', search }, { limit: 100 });
      const expected = views.filter(({ name }) => name.toLowerCase().includes(search.toLowerCase()));
      expect([search, new Set(items.map(({ name }) => name))]).toEqual([search, new Set(expected.map(({ name }) => name))]);
    }
  },

  async 'pages of products stay stable while others arrive'({ transact, other, reads }) {
    const views = await givenProducts(transact, assortment('growing'));
    for (const sort of sorts) {
      const ask: Ask<ProductView> = (page) => reads.products.page({ sort }, page);
      const known = sorted(await walk(ask, 100), sort);
      expect(idsOf(known)).toEqual(expect.arrayContaining(idsOf(views)));
      await expectStable(ask, known, () =>
        givenProducts(other, [
          { name: 'aaa', lowestPrice: won(1) },
          { name: 'cherry', lowestPrice: won(1_000) },
          { name: 'zzz', lowestPrice: won(1_000_000_000_000) },
        ]),
      );
    }
  },

  async 'refuses a cursor of products that nobody got'({ transact, reads }) {
    await givenProducts(transact, assortment('refused'));
    for (const sort of sorts) await expectInvalid((page) => reads.products.page({ sort }, page), spoiled);
  },

  async 'a cursor of products serves the order that it came from, and no other'({ transact, reads }) {
    await givenProducts(transact, assortment('ordered'));
    const cursors = new Map<string, string>();
    for (const sort of sorts) cursors.set(sort, (await reads.products.page({ sort }, { limit: 2 })).nextCursor as string);
    for (const [from, cursor] of cursors)
      for (const sort of sorts) {
        const outcome = await refusalOf(reads.products.page({ sort }, { limit: 2, cursor }));
        if (sort !== from) expect([from, sort, outcome]).toEqual([from, sort, { code: 'invalid_cursor' }]);
      }
  },

  async 'refuses a cursor of products with a text that no name can hold'({ transact, reads }) {
    const [view] = await givenProducts(transact, [{ name: 'apple' }, { name: 'pear' }]);
    await expectInvalid(
      (page) => reads.products.page({ sort: 'name' }, page),
      (real) => ['\u0000', 'a\u0000b'].map((text) => real.replace(JSON.stringify(view?.name), JSON.stringify(text))),
    );
  },

  async 'the ledger shows what came as positive and what went as negative, newest first, each entry once'({ transact, reads }) {
    const [mine, hers] = [`mine "${newUuid()}\\`, newUuid()];
    const transfers = await givenLedger(transact, mine, 23);
    await givenLedger(transact, hers, 5);
    const expected = transfers.toReversed().map(({ id, kind, from, amount, balance, orderId, createdAt }) => ({
      id,
      kind,
      amount: from === accountName(mine) ? -amount : amount,
      balance,
      orderId,
      createdAt,
    }));
    await expectWalks((page) => reads.accounts.entries(mine, page), expected as never[]);
    expect((await reads.accounts.entries(hers, { limit: 100 })).items).toHaveLength(5);
    for (const nobody of ['cash_in', 'revenue', 'customer:x', '', '%'])
      expect((await reads.accounts.entries(nobody, { limit: 100 })).items).toEqual([]);
  },

  async 'pages of the ledger stay stable while entries arrive'({ transact, other, reads }) {
    const customerId = newUuid();
    await givenLedger(transact, customerId, 15);
    const ask: Ask<{ id: string }> = (page) => reads.accounts.entries(customerId, page);
    await expectStable(ask, await walk(ask, 100), () => givenLedger(other, customerId, 3));
  },

  async 'refuses a cursor of the ledger or of orders that nobody got'({ transact, reads }) {
    const customerId = newUuid();
    await givenLedger(transact, customerId, 3);
    await givenOrders(transact, Array(3).fill({ customerId }));
    await expectInvalid((page) => reads.accounts.entries(customerId, page), spoiled);
    await expectInvalid((page) => reads.orders.page(null, {}, page), spoiled);
    await expectInvalid((page) => reads.orders.page(customerId, { status: 'pending' }, page), spoiled);
  },

  async 'an account and a cart are their customer’s'({ transact, reads }) {
    const [mine, hers] = [newAccount({ balance: won(1) }), newAccount({ balance: won(2) })];
    const cart = { customerId: mine.customerId, items: [{ sku: 'A', quantity: 2, unitPrice: won(10), addedAt: 5 }] };
    await transact({}, (books) => {
      books.create('accounts', mine);
      books.create('accounts', hers);
      books.create('carts', cart);
    });
    expect(await reads.accounts.find(mine.customerId)).toEqual(mine);
    expect(await reads.accounts.find(hers.customerId)).toEqual(hers);
    expect(await reads.carts.find(mine.customerId)).toEqual(cart);
    expect(await reads.carts.find(hers.customerId)).toBeNull();
  },

  async 'an order and its payment are there for their owner and for an operator, and for nobody else'({ transact, reads }) {
    const order = paidOrder(newUuid());
    const id = order.payment?.id as string;
    const pending = newOrder();
    await givenOrders(transact, [order, pending]);
    for (const owner of [order.customerId, null]) {
      expect(await reads.orders.find(order.id, owner)).toEqual(order);
      expect(await reads.orders.payment(id, owner)).toEqual(order.payment);
    }
    for (const owner of [pending.customerId, newUuid(), '', '%', 'null']) {
      expect(await reads.orders.find(order.id, owner)).toBeNull();
      expect(await reads.orders.payment(id, owner)).toBeNull();
    }
    expect(await reads.orders.payment(order.id, null)).toBeNull();
  },

  async 'orders come newest first, by owner and by status, each once, whatever the step'({ transact, reads }) {
    const [mine, hers] = [`mine' "${newUuid()}`, newUuid()];
    const statuses = ['pending', 'expired', 'cancelled', 'pending'] as const;
    const orders = await givenOrders(
      transact,
      Array.from({ length: 20 }, (_, i) => ({
        customerId: i % 3 ? mine : hers,
        status: statuses[i % 4] as Order['status'],
        createdAt: 1_700_000_000_000 + i,
      })),
    );
    const newest = orders.toReversed();
    for (const owner of [null, mine, hers, newUuid()])
      for (const status of [undefined, 'pending', 'expired', 'paid'] as const)
        await expectWalks(
          (page) => reads.orders.page(owner, { status }, page),
          newest.filter(
            (order) => (owner === null || order.customerId === owner) && (status === undefined || order.status === status),
          ),
        );
  },

  async 'pages of orders stay stable while orders arrive'({ transact, other, reads }) {
    const customerId = newUuid();
    await givenOrders(transact, Array(15).fill({ customerId }));
    for (const owner of [customerId, null]) {
      const ask: Ask<Order> = (page) => reads.orders.page(owner, { status: 'pending' }, page);
      await expectStable(ask, await walk(ask, 100), () => givenOrders(other, [{ customerId }, { customerId }, {}]));
    }
  },
};

/** Every guarantee of the ports that read, on an adapter. */
export const readsContract = (name: string, make: MakeStoreWorld): void =>
  runChecks(`${name}: the contract of the reads`, readChecks, make);
