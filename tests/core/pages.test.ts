import { describe, expect, test } from 'vitest';
import { keyOfCursor, type Page, type PageRequest, pageOf } from '../../core/shared/page.ts';
import { allOf, openShop, refusalOf } from '../support/shop.ts';

const uuid = '00000000-0000-7000-8000-00000000000a';

describe('a page', () => {
  test('tells by the one row too many that there is another', () => {
    const key = (item: number) => [item];
    expect(pageOf([], 2, key)).toEqual({ items: [], nextCursor: null });
    expect(pageOf([1], 2, key)).toEqual({ items: [1], nextCursor: null });
    expect(pageOf([1, 2], 2, key)).toEqual({ items: [1, 2], nextCursor: null });
    expect(pageOf([1, 2, 3], 2, key)).toEqual({ items: [1, 2], nextCursor: '["",2]' });
  });

  test('gives a cursor that leads back to the key of its last item', () => {
    const { nextCursor } = pageOf([1, 2], 1, () => ['"양말"\n', 5, uuid]);
    expect(keyOfCursor(nextCursor ?? undefined, ['string', 'number', 'uuid'])).toEqual(['"양말"\n', 5, uuid]);
  });
});

describe('a cursor', () => {
  test('that is absent stands for the first page', () => {
    expect(keyOfCursor(undefined, ['uuid'])).toBeNull();
  });

  test.each([
    '',
    'x',
    '{}',
    'null',
    '5',
    '"x"',
    '[]',
    `["${uuid}"`,
    '["x"]',
    '[5]',
    '[null]',
    `["${uuid.toUpperCase()}"]`,
    `["${uuid}", "${uuid}"]`,
    `["${uuid}\\n"]`,
    `[["${uuid}"]]`,
    `{"0": "${uuid}", "length": 1}`,
  ])('that nobody gave out is refused: %s', async (cursor) => {
    expect(await refusalOf((async () => keyOfCursor(cursor, ['uuid']))())).toEqual({ code: 'invalid_cursor' });
  });

  test.each(['["1"]', '[1.5]', '[9007199254740992]', '[true]', '[1e400]'])('must hold whole numbers: %s', async (cursor) => {
    expect(await refusalOf((async () => keyOfCursor(cursor, ['number']))())).toEqual({ code: 'invalid_cursor' });
  });
});

/** Every list of the shop, with eight items, most of them made within one millisecond. */
const lists = async () => {
  const world = openShop({ policy: { charge: { perDay: 100, perMonth: 100 } } });
  const { shop, clock, customer, operator, product, charged, ordered } = world;
  const kim = customer();
  for (let i = 0; i < 7; i++) await product({ name: `socks ${i % 3}`, price: 1_000 + (i % 2), stock: 100 });
  clock.advance(1);
  const socks = await product({ name: 'socks 1', price: 1_000, stock: 100 });
  const add = {
    order: () => ordered(kim, socks),
    charge: () => charged(kim, 1_000),
    product: () => product({ name: 'aaa', price: 1 }),
  };
  for (let i = 0; i < 8; i++) {
    await add.order();
    await add.charge();
  }
  const products = (sort: 'newest' | 'price_asc' | 'price_desc' | 'name') => ({
    pageAt: (page: PageRequest): Promise<Page<{ readonly id: string }>> => shop.catalog.page(operator, { sort }, page),
    add: add.product,
  });
  return {
    orders: {
      pageAt: (page: PageRequest): Promise<Page<{ readonly id: string }>> => shop.orders.page(kim, {}, page),
      add: add.order,
    },
    entries: {
      pageAt: (page: PageRequest): Promise<Page<{ readonly id: string }>> => shop.balance.entries(kim, page),
      add: add.charge,
    },
    newest: products('newest'),
    price_asc: products('price_asc'),
    price_desc: products('price_desc'),
    name: products('name'),
  };
};

describe.each(['orders', 'entries', 'newest', 'price_asc', 'price_desc', 'name'] as const)('the list by %s', (name) => {
  test('is the same in pages of any size, without gaps or repeats', async () => {
    const { pageAt } = (await lists())[name];
    const whole = await allOf(pageAt);
    expect(whole).toHaveLength(8);
    expect(new Set(whole.map(({ id }) => id)).size).toBe(8);
    for (const limit of [1, 2, 3, 7, 8, 9]) expect(await allOf(pageAt, limit), `pages of ${limit}`).toEqual(whole);
  });

  test('ends with the page that holds the last item', async () => {
    const { pageAt } = (await lists())[name];
    const first = await pageAt({ limit: 4 });
    const last = await pageAt({ limit: 4, cursor: first.nextCursor ?? undefined });
    expect([first.nextCursor, last.nextCursor]).toEqual([expect.any(String), null]);
    expect(await pageAt({ limit: 8 })).toMatchObject({ nextCursor: null });
  });

  test('goes on where it was while new items come', async () => {
    const { pageAt, add } = (await lists())[name];
    const whole = await allOf(pageAt);
    const first = await pageAt({ limit: 3 });
    await add();
    const second = await pageAt({ limit: 5, cursor: first.nextCursor ?? undefined });
    // Wherever the new item stands, it takes no place of those that were there.
    expect([...first.items, ...second.items].map(({ id }) => id)).toEqual(whole.map(({ id }) => id));
  });

  test.each(['x', '[]', '[1, 2, 3]'])('refuses a cursor that is not its own: %s', async (cursor) => {
    const { pageAt } = (await lists())[name];
    expect(await refusalOf(pageAt({ limit: 3, cursor }))).toEqual({ code: 'invalid_cursor' });
  });
});

test('a cursor of one sort is refused by a sort of another type', async () => {
  const { price_asc, name } = await lists();
  const byPrice = await price_asc.pageAt({ limit: 3 });
  const byName = await name.pageAt({ limit: 3 });
  const crossed = [
    name.pageAt({ limit: 3, cursor: byPrice.nextCursor ?? undefined }),
    price_asc.pageAt({ limit: 3, cursor: byName.nextCursor ?? undefined }),
  ];
  expect(await Promise.all(crossed.map(refusalOf))).toEqual([{ code: 'invalid_cursor' }, { code: 'invalid_cursor' }]);
});
