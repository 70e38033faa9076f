import { refuse } from './refusal.ts';
import { isUuid } from './uuid.ts';

export interface PageRequest {
  /** 1 to 100. */
  readonly limit: number;
  /** `nextCursor` of the page before; absent for the first page. */
  readonly cursor?: string | undefined;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** null on the last page. */
  readonly nextCursor: string | null;
}

type Key = string | number;

/**
 * A cursor is the sort key of the last item shown, so a page stays stable while new items arrive.
 * `order` names the sort where a list has several: a cursor serves the one it came from.
 * `rows` holds up to limit + 1 items in order; the one too many tells that there is a next page.
 */
export const pageOf = <T>(rows: readonly T[], limit: number, key: (item: T) => readonly Key[], order = ''): Page<T> => {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, nextCursor: rows.length > limit && last ? JSON.stringify([order, ...key(last)]) : null };
};

type Part = 'string' | 'number' | 'uuid';
type KeyOf<Shape extends readonly Part[]> = { [I in keyof Shape]: Shape[I] extends 'number' ? number : string };

const fits: { readonly [P in Part]: (part: unknown) => boolean } = {
  string: (part) => typeof part === 'string' && part.isWellFormed() && !part.includes('\0'),
  number: Number.isSafeInteger,
  uuid: (part) => typeof part === 'string' && isUuid(part),
};

/** The sort key in a cursor; its parts must be of the types in `shape`. Refuses anything else: `invalid_cursor`. */
export const keyOfCursor = <const Shape extends readonly Part[]>(
  cursor: string | undefined,
  shape: Shape,
  order = '',
): KeyOf<Shape> | null => {
  if (cursor === undefined) return null;
  let parts: unknown;
  try {
    parts = JSON.parse(cursor);
  } catch {
    return refuse({ code: 'invalid_cursor' });
  }
  if (!Array.isArray(parts) || parts[0] !== order) return refuse({ code: 'invalid_cursor' });
  const key = parts.slice(1);
  const valid = key.length === shape.length && shape.every((part, i) => fits[part](key[i]));
  return valid ? (key as unknown as KeyOf<Shape>) : refuse({ code: 'invalid_cursor' });
};
