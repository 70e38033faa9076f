import { STATUS_CODES } from 'node:http';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { DomainError, type Refusal, Unavailable } from '../../core/shared/refusal.ts';

interface Said {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  /** The field that a 400 is about. */
  readonly path?: string;
}
type Refused<C extends Refusal['code']> = Extract<Refusal, { code: C }>;

const thing = {
  customer: 'customer',
  product: 'product',
  sku: 'SKU',
  order: 'order',
  payment: 'payment',
  cart_item: 'item in the cart',
  campaign: 'campaign',
  coupon: 'coupon',
  claim: 'claim (if its queue was lost, make it again)',
};

/** What each refusal says to a client. A new refusal does not compile without its status. */
const refusals: { readonly [C in Refusal['code']]: (refusal: Refused<C>) => Said } = {
  not_found: ({ what }) => ({ status: 404, title: 'Not found', detail: `There is no such ${thing[what]}; check its id.` }),
  forbidden: () => ({ status: 403, title: 'Not yours to do', detail: 'Use a token whose role may do this.' }),
  email_taken: () => ({ status: 409, title: 'E-mail address taken', detail: 'Log in, or register with another e-mail address.' }),
  invalid_credentials: () => ({ status: 401, title: 'Wrong credentials', detail: 'Check the e-mail address and the password.' }),
  session_ended: () => ({ status: 401, title: 'Session ended', detail: 'Log in again.' }),
  invalid_cursor: () => ({
    status: 400,
    path: 'cursor',
    title: 'Invalid cursor',
    detail: 'Start again without a cursor, with the same filters.',
  }),
  sku_taken: ({ sku }) => ({ status: 409, title: 'SKU taken', detail: `Choose another code than ${sku}; a SKU serves once.` }),
  duplicate_sku: ({ sku }) => ({
    status: 400,
    path: 'items',
    title: 'SKU named twice',
    detail: `Name ${sku} once, with the whole quantity.`,
  }),
  not_on_sale: ({ sku }) => ({ status: 409, title: 'Not on sale', detail: `Take ${sku} out; it is not for sale now.` }),
  insufficient_stock: ({ sku, requested, available }) => ({
    status: 409,
    title: 'Not enough in stock',
    detail: `Ask for at most ${available} of ${sku}; you asked for ${requested}.`,
  }),
  stock_limit: ({ sku, max }) => ({
    status: 409,
    title: 'Too much stock',
    detail: `Keep the stock of ${sku} at ${max} at the most.`,
  }),
  invalid_charge_amount: ({ min, max, step }) => ({
    status: 400,
    path: 'amount',
    title: 'Amount not allowed',
    detail: `Charge ${min} to ${max} won, in steps of ${step}.`,
  }),
  charge_limit_reached: ({ per, limit }) => ({
    status: 409,
    title: 'Charge limit reached',
    detail: `Wait for the next ${per}; the balance can be charged ${limit} times a ${per}.`,
  }),
  insufficient_balance: ({ needed, available }) => ({
    status: 402,
    title: 'Balance too low',
    detail: `Charge the balance, then pay again: ${needed} won are needed, ${available} are there.`,
  }),
  no_items: () => ({ status: 409, title: 'Nothing to order', detail: 'Put something into the cart, or name items.' }),
  invalid_quantity: ({ sku, max }) => ({
    status: 400,
    path: 'quantity',
    title: 'Quantity not allowed',
    detail: `Order 1 to ${max} of ${sku}.`,
  }),
  too_many_items: ({ max }) => ({
    status: 400,
    path: 'items',
    title: 'Too many items',
    detail: `Order at most ${max} different SKUs at once.`,
  }),
  invalid_price: ({ sku }) => ({
    status: 400,
    path: 'variants',
    title: 'Price not allowed',
    detail: `Give ${sku} a price of at least 1 whole won.`,
  }),
  invalid_delta: ({ max }) => ({
    status: 400,
    path: 'delta',
    title: 'Change not allowed',
    detail: `Change by 1 to ${max} whole pieces, up or down.`,
  }),
  no_variants: () => ({ status: 400, path: 'variants', title: 'No variants', detail: 'Give the product at least one variant.' }),
  cart_full: ({ max }) => ({
    status: 409,
    title: 'Cart full',
    detail: `Take something out; a cart holds ${max} different SKUs.`,
  }),
  cart_changed: () => ({
    status: 409,
    title: 'Cart changed',
    detail: 'Look at the cart again, then order; it changed meanwhile.',
  }),
  order_not_payable: ({ status }) => ({
    status: 409,
    title: 'Order not payable',
    detail: `Only a pending order can be paid; this one is ${status}.`,
  }),
  order_expired: () => ({ status: 409, title: 'Order expired', detail: 'Place the order again; its time to pay is over.' }),
  invalid_campaign: ({ reason }) => ({
    status: 400,
    path: reason === 'window' ? 'closesAt' : 'discount',
    title: 'Campaign not possible',
    detail: reason === 'window' ? 'Let it close after it opens.' : 'Give a percent from 1 to 99, or an amount of at least 1 won.',
  }),
  not_open: ({ opensAt }) => ({ status: 409, title: 'Not open yet', detail: `Come back at ${new Date(opensAt).toISOString()}.` }),
  closed: () => ({ status: 409, title: 'Closed', detail: 'Look for another campaign; this one is over.' }),
  sold_out: () => ({ status: 409, title: 'Sold out', detail: 'Look for another campaign; all coupons of this one are gone.' }),
  already_claimed: () => ({
    status: 409,
    title: 'Already claimed',
    detail: 'Use the coupon that you have: see GET /v1/coupons.',
  }),
  coupon_used: () => ({
    status: 409,
    title: 'Coupon used',
    detail: 'Order without it, or with another one; it serves an order already.',
  }),
  coupon_expired: () => ({
    status: 409,
    title: 'Coupon expired',
    detail: 'Order without it, or with another one; its time is over.',
  }),
  coupon_min_order: ({ minOrder, goodsTotal }) => ({
    status: 409,
    title: 'Order too small for the coupon',
    detail: `Order goods for at least ${minOrder} won; these are ${goodsTotal}.`,
  }),
  busy: () => ({
    status: 409,
    title: 'Busy with the same',
    detail: 'Wait a second and ask again; an earlier request of yours is still at it.',
  }),
  idempotency_key_reused: () => ({
    status: 422,
    title: 'Idempotency key reused',
    detail: 'Use a new Idempotency-Key; this one was sent with another request.',
  }),
};

/** Problems of HTTP itself, by code. */
const faults: { readonly [code: string]: Said } = {
  validation_failed: { status: 400, title: 'Invalid request', detail: 'Correct the fields in errors.' },
  malformed_json: {
    status: 400,
    title: 'Malformed JSON',
    detail: 'Send one well-formed JSON object; errors says what is wrong.',
  },
  invalid_idempotency_key: {
    status: 400,
    path: 'idempotency-key',
    title: 'Invalid idempotency key',
    detail: 'Send an Idempotency-Key of 1 to 255 visible ASCII characters.',
  },
  unauthenticated: { status: 401, title: 'Not authenticated', detail: 'Send Authorization: Bearer with a valid token.' },
  route_not_found: { status: 404, title: 'No such route', detail: 'Check the method and the path against /docs.' },
  idempotency_key_in_use: {
    status: 409,
    title: 'Still running',
    detail: 'Wait and send the same request again; the first one with this Idempotency-Key is still running.',
  },
  body_too_large: { status: 413, title: 'Body too large', detail: 'Send at most 64 KiB.' },
  unsupported_media_type: { status: 415, title: 'Unsupported media type', detail: 'Send Content-Type: application/json.' },
  rate_limited: { status: 429, title: 'Too many requests', detail: 'Wait for the seconds in Retry-After, then ask again.' },
  bad_request: { status: 400, title: 'Bad request', detail: 'Check the request against /docs.' },
  unavailable: { status: 503, title: 'Unavailable', detail: 'Nothing was changed; ask again after the seconds in Retry-After.' },
  outcome_unknown: {
    status: 503,
    title: 'Outcome unknown',
    detail: 'Ask again with the same Idempotency-Key to learn what became of it.',
  },
  internal_error: { status: 500, title: 'Internal error', detail: 'Ask again later; if it stays, report the request id.' },
};

/** A problem of HTTP's own that a hook throws. */
export class HttpProblem extends Error {
  readonly code: keyof typeof faults;
  readonly retryAfter: number | undefined;
  readonly errors: readonly { path: string; message: string }[] | undefined;

  constructor(
    code: keyof typeof faults,
    { retryAfter, errors }: { retryAfter?: number; errors?: readonly { path: string; message: string }[] } = {},
  ) {
    super(String(code));
    this.code = code;
    this.retryAfter = retryAfter;
    this.errors = errors;
  }
}

const BY_STATUS: { readonly [status: number]: keyof typeof faults } = {
  413: 'body_too_large',
  415: 'unsupported_media_type',
  429: 'rate_limited',
};

const validationErrors = (error: FastifyError): { path: string; message: string }[] =>
  (error.validation ?? []).flatMap(({ instancePath, message, keyword, params }) => {
    const path = instancePath.slice(1).replaceAll('/', '.');
    if (keyword !== 'unrecognized_keys') return [{ path, message: message ?? 'invalid' }];
    const keys = (params as { keys: string[] }).keys;
    return keys.map((key) => ({ path: path ? `${path}.${key}` : key, message: 'is not a field of this request' }));
  });

const send = (
  request: FastifyRequest,
  reply: FastifyReply,
  code: string,
  { status, title, detail, path = '' }: Said,
  more: { readonly requestId?: string | undefined; readonly retryAfter?: number | undefined; readonly errors?: unknown } = {},
) => {
  const retryAfter = more.retryAfter ?? (status === 503 || status === 429 || code === 'busy' ? 1 : undefined);
  if (retryAfter !== undefined && !reply.hasHeader('retry-after')) reply.header('retry-after', String(retryAfter));
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  const body = {
    type: `urn:firstcome:problem:${code}`,
    title,
    status,
    detail,
    code,
    instance: request.url.split('?')[0],
    requestId: more.requestId ?? request.id,
    ...(status === 400 ? { errors: more.errors ?? [{ path, message: detail }] } : {}),
  };
  return reply.code(status).type('application/problem+json').serializer(JSON.stringify).send(body);
};

const WARN_EVERY = 5_000;
let warnedAt = Number.NEGATIVE_INFINITY;
let unsaid = 0;

/** One line in five seconds: an outage must not drown the log that explains it. */
const warnUnavailable = (request: FastifyRequest, { message, cause }: Unavailable) => {
  unsaid++;
  if (performance.now() - warnedAt < WARN_EVERY) return;
  request.log.warn({ reason: message, cause: (cause as Error | undefined)?.message, times: unsaid }, 'unavailable');
  warnedAt = performance.now();
  unsaid = 0;
};

const fault = (code: keyof typeof faults): Said => faults[code] as Said;

/** Every error as RFC 9457 problem+json. What a rule did not say is logged and told without its innards. */
export const problemHandler = (thrown: unknown, request: FastifyRequest, reply: FastifyReply) => {
  const error =
    thrown instanceof Error ? (thrown as FastifyError) : new Error('something that is no error was thrown', { cause: thrown });
  if (error instanceof DomainError) {
    const { refusal, decidedFor } = error;
    const said = (refusals[refusal.code] as (refusal: Refusal) => Said)(refusal);
    return send(request, reply, refusal.code, said, { requestId: decidedFor });
  }
  if (error instanceof HttpProblem) {
    return send(request, reply, String(error.code), fault(error.code), { retryAfter: error.retryAfter, errors: error.errors });
  }
  if (error instanceof Unavailable) {
    warnUnavailable(request, error);
    const code = error.outcome === 'unknown' ? 'outcome_unknown' : 'unavailable';
    return send(request, reply, code, fault(code));
  }
  if (hasZodFastifySchemaValidationErrors(error)) {
    return send(request, reply, 'validation_failed', fault('validation_failed'), {
      errors: validationErrors(error as FastifyError),
    });
  }
  // Only Fastify's own errors know a status; that of any other error is somebody else's.
  const { code: fastifyCode, statusCode = 500 } = error as Partial<FastifyError>;
  const status = fastifyCode?.startsWith('FST_') ? statusCode : 500;
  // A client that hung up in the middle of its body: nobody hears the answer, and it is no fault of ours.
  if (request.raw.readableAborted) return send(request, reply, 'bad_request', fault('bad_request'));
  if (status < 400 || status >= 500) {
    request.log.error({ err: error }, 'internal error');
    return send(request, reply, 'internal_error', fault('internal_error'));
  }
  const code = BY_STATUS[status] ?? 'bad_request';
  return send(request, reply, String(code), { ...fault(code), status });
};

export const routeNotFound = (request: FastifyRequest, reply: FastifyReply) =>
  send(request, reply, 'route_not_found', fault('route_not_found'));

const NOT_HTTP: { readonly [code: string]: { readonly status: number; readonly detail: string } } = {
  HPE_HEADER_OVERFLOW: { status: 431, detail: 'Send headers of at most 16 KiB.' },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, detail: 'Send the whole request within 5 seconds.' },
};

/** What is not even HTTP. Node's error holds the packet, and that may hold secrets: of it only the code is used. */
export const notHttp = (
  error: { readonly code?: string },
  newId: () => string,
): { readonly status: string; readonly body: string } => {
  const { title } = fault('bad_request');
  const { status, detail } = NOT_HTTP[error.code ?? ''] ?? { status: 400, detail: 'Send well-formed HTTP/1.1.' };
  const errors = status === 400 ? { errors: [{ path: '', message: detail }] } : {};
  const type = 'urn:firstcome:problem:bad_request';
  const body = { type, title, status, detail, code: 'bad_request', instance: '/', requestId: newId(), ...errors };
  return { status: `${status} ${STATUS_CODES[status]}`, body: JSON.stringify(body) };
};
