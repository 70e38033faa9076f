import { sql } from 'kysely';
import type { ProductStatus, ProductView } from '../../core/catalog/product.ts';
import type { ProductFilter, Products } from '../../core/ports.ts';
import { keyOfCursor, pageOf } from '../../core/shared/page.ts';
import { isUuid } from '../../core/shared/uuid.ts';
import { type Reads, reading } from './connection.ts';
import { skuOf } from './tables.ts';

type Row = Omit<ProductView, 'status'> & { status: ProductStatus; lowest_price: number };

const COLUMNS = sql`products.id, products.name, products.category, products.status, products.lowest_price,
  (select json_agg(json_build_object('sku', sku, 'name', skus.name, 'price', price, 'stock', stock) order by position)
    from skus where product_id = products.id) as variants`;

const viewOf = ({ id, name, category, status, variants }: Row): ProductView => ({ id, name, category, status, variants });

/** How each sort orders, and the key that its cursor holds. */
const sorts: {
  [S in ProductFilter['sort']]: {
    column: 'name' | 'lowest_price' | null;
    descending: boolean;
    shape: readonly ['string' | 'number', 'uuid'];
    key: (row: Row) => readonly [string | number, string];
  };
} = {
  newest: { column: null, descending: true, shape: ['string', 'uuid'], key: (row) => ['', row.id] },
  price_asc: { column: 'lowest_price', descending: false, shape: ['number', 'uuid'], key: (row) => [row.lowest_price, row.id] },
  price_desc: { column: 'lowest_price', descending: true, shape: ['number', 'uuid'], key: (row) => [row.lowest_price, row.id] },
  name: { column: 'name', descending: false, shape: ['string', 'uuid'], key: (row) => [row.name, row.id] },
};

export const postgresProducts = ({ db }: Reads): Products => {
  // Reads asked for while one is under way share the next one: one statement for all that wait, each later than its question.
  let wanted = new Map<string, ((view: Promise<ProductView | null>) => void)[]>();
  let reads = 0;
  const MAX_READS = 2;

  const readWanted = async () => {
    while (wanted.size > 0) {
      const asked = wanted;
      wanted = new Map();
      const query = sql<Row>`select ${COLUMNS} from products where products.id = any(${[...asked.keys()]}::uuid[])`.execute(db);
      const views = reading(query).then(({ rows }) => new Map(rows.map((row) => [row.id, viewOf(row)])));
      await views.catch(() => {});
      for (const [id, askers] of asked) for (const settle of askers) settle(views.then((found) => found.get(id) ?? null));
    }
    reads--;
  };

  return {
    find: (id) =>
      new Promise((resolve) => {
        if (!isUuid(id)) return resolve(null);
        const askers = wanted.get(id);
        if (askers) askers.push(resolve);
        else wanted.set(id, [resolve]);
        if (reads < MAX_READS) {
          reads++;
          readWanted();
        }
      }),

    skus: async (codes) => {
      if (codes.length === 0) return [];
      const rows = await reading(db.selectFrom('skus').selectAll().where(sql<boolean>`sku = any(${codes}::text[])`).execute());
      return rows.map(skuOf);
    },

    page: async ({ category, search, sort, status }, { limit, cursor }) => {
      const { column, descending, shape, key } = sorts[sort];
      const after = keyOfCursor(cursor, shape, sort);
      const order = sql.raw(descending ? 'desc' : 'asc');
      const beyond = sql.raw(descending ? '<' : '>');
      const conditions = [sql`true`];
      if (category !== undefined) conditions.push(sql`category = ${category}`);
      if (status !== undefined) conditions.push(sql`status = ${status}`);
      if (search !== undefined) conditions.push(sql`products.name ilike ${`%${search.replace(/[\\%_]/g, '\\$&')}%`}`);
      if (after && column)
        conditions.push(sql`(${sql.ref(`products.${column}`)}, products.id) ${beyond} (${after[0]}, ${after[1]}::uuid)`);
      if (after && !column) conditions.push(sql`products.id ${beyond} ${after[1]}::uuid`);
      const by = column ? sql`${sql.ref(`products.${column}`)} ${order}, products.id ${order}` : sql`products.id ${order}`;
      const query = sql<Row>`select ${COLUMNS} from products where ${sql.join(conditions, sql` and `)} order by ${by} limit ${limit + 1}`;
      const { items, nextCursor } = pageOf((await reading(query.execute(db))).rows, limit, key, sort);
      return { items: items.map(viewOf), nextCursor };
    },
  };
};
