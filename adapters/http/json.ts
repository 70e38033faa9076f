import { isUtf8 } from 'node:buffer';
import { HttpProblem } from './problem.ts';

const MAX_DEPTH = 16;

const malformed = (message: string): never => {
  throw new HttpProblem('malformed_json', { errors: [{ path: '', message }] });
};

/** Counts the keys of all objects, and refuses strings that no text has: NUL and lone surrogates. */
const countKeys = (value: unknown): number => {
  if (typeof value === 'string') {
    if (value.includes('\0') || !value.isWellFormed()) malformed('text must be Unicode without NUL and lone surrogates');
    return 0;
  }
  if (typeof value !== 'object' || value === null) return 0;
  if (Array.isArray(value)) return value.reduce<number>((count, item) => count + countKeys(item), 0);
  return Object.entries(value).reduce((count, [key, item]) => {
    if (key === '__proto__') malformed('must not have a __proto__');
    return count + 1 + countKeys(key) + countKeys(item);
  }, 0);
};

/**
 * JSON as this API reads it: UTF-8, whole numbers in plain digits (no 1.0, no 1e3), no key twice, no `__proto__`, nested at
 * most 16 deep. JSON.parse lets all of these pass, or changes them in silence.
 */
export const parseJson = (body: Buffer): unknown => {
  // Clients that name the type of a body they do not send.
  if (body.length === 0) return undefined;
  if (!isUtf8(body)) malformed('must be UTF-8');
  const text = body.toString();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    malformed('must be one JSON value');
  }
  const bare = text.replace(/"(?:[^"\\]|\\.)*"/g, '""');
  // 1.5 is left to the schema, which can say where it stands.
  if (/\d[eE]|\.0+(?!\d)/.test(bare)) malformed('whole numbers must be written in plain digits');
  let depth = 0;
  let keys = 0;
  for (const character of bare) {
    if (character === '{' || character === '[') depth++;
    else if (character === '}' || character === ']') depth--;
    else if (character === ':') keys++;
    if (depth > MAX_DEPTH) malformed(`must be nested at most ${MAX_DEPTH} deep`);
  }
  if (countKeys(value) !== keys) malformed('must not have a key twice');
  return value;
};
