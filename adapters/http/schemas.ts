import { z } from 'zod';
import type { Page } from '../../core/shared/page.ts';
import type { Instant } from '../../core/shared/time.ts';

/** Text as people write it: no control characters (NUL among them), no lone surrogates, not blank. */
export const text = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .refine((value) => value.isWellFormed() && !/\p{Cc}/u.test(value), 'must not contain control characters')
    .refine((value) => value.trim() !== '', 'must not be blank');

/** Whole won in what a client sends. */
export const wonIn = z.int().min(1).max(1_000_000_000_000).meta({ description: 'Whole won (KRW).' });
export const won = z.int().meta({ description: 'Whole won (KRW).' });
export const instant = z.iso.datetime().meta({ description: 'RFC 3339, UTC.' });
/** A moment that a client sends; with any offset. */
export const instantIn = z.iso
  .datetime({ offset: true })
  .refine((text) => Date.parse(text) >= 0, 'must not be before 1970')
  .meta({ description: 'RFC 3339.' });
export const id = z.uuid().toLowerCase();
/** For a POST that says all in its path: no body, or an empty object. */
export const noBody = z.strictObject({});
export const sku = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be 1 to 64 letters, digits, dots, dashes or underscores')
  .meta({ description: 'The code of the thing that is sold, e.g. TEE-BLACK-M.' });
export const orderQuantity = z.int().min(1).max(10);

export const idParams = z.strictObject({ id });
export const skuParams = z.strictObject({ sku });

export const limit = z
  .any()
  .transform((value, context) => {
    if (typeof value === 'string' && /^[1-9]\d{0,2}$/.test(value) && Number(value) <= 100) return Number(value);
    context.addIssue({ code: 'custom', message: 'must be a whole number from 1 to 100' });
    return z.NEVER;
  })
  .meta({ type: 'integer', minimum: 1, maximum: 100, default: 20 });
const cursor = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,1024}$/, 'must be the nextCursor of an earlier page')
  .meta({ description: '`nextCursor` of the page before.' });
export const pageQuery = { limit: limit.optional(), cursor: cursor.optional() };

/** On the wire a cursor is opaque: base64url of the core's. */
export const pageRequest = (query: { readonly limit?: number | undefined; readonly cursor?: string | undefined }) => ({
  limit: query.limit ?? 20,
  cursor: query.cursor === undefined ? undefined : Buffer.from(query.cursor, 'base64url').toString(),
});

export const pageOf = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item), nextCursor: z.string().nullable() });

export const pageOnWire = <T, W>({ items, nextCursor }: Page<T>, onWire: (item: T) => W) => ({
  items: items.map(onWire),
  nextCursor: nextCursor === null ? null : Buffer.from(nextCursor).toString('base64url'),
});

export const time = (at: Instant): string => new Date(at).toISOString();

export const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string().meta({ description: 'One sentence that says what to do.' }),
    code: z.string().meta({ description: 'Stable; for programs.' }),
    instance: z.string(),
    requestId: z.string(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457.' });
