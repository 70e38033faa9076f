import { createHmac } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { onceKey } from '../../core/books.ts';
import type { Caller, Once } from '../../core/shared/actor.ts';
import { HttpProblem } from './problem.ts';

declare module 'fastify' {
  interface FastifyRequest {
    once: Once | undefined;
  }
}

const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * `Idempotency-Key` on every POST. The key travels with the command into its commit; here it is only read, and a request
 * whose twin is still running in this process is told so (409). In another process the twin is waited for and replayed.
 */
export const idempotency = (app: FastifyInstance, secret: Uint8Array) => {
  const running = new Set<string>();
  app.decorateRequest('once', undefined);

  const read = (request: FastifyRequest) => {
    const key = request.headers['idempotency-key'];
    if (request.method !== 'POST' || key === undefined) return;
    if (typeof key !== 'string' || !KEY.test(key)) throw new HttpProblem('invalid_idempotency_key');
    const asked = JSON.stringify([request.params, request.query, request.body ?? null, wantsAsync(request)]);
    const once: Once = {
      subject: request.actor.subject,
      operation: `POST ${request.routeOptions.url}`,
      key,
      // Keyed: a digest of a body that holds a password must not be worth guessing at.
      fingerprint: createHmac('sha256', secret).update(asked).digest('base64url'),
      requestId: request.id,
    };
    if (running.has(onceKey(once))) throw new HttpProblem('idempotency_key_in_use', { retryAfter: 1 });
    running.add(onceKey(once));
    request.once = once;
  };
  app.addHook('preHandler', (request, _reply, done) => {
    try {
      read(request);
      done();
    } catch (error) {
      done(error as Error);
    }
  });

  // Runs for every answer, also for errors and when the client has gone.
  app.addHook('onSend', (request, _reply, _payload, done) => {
    if (request.once) running.delete(onceKey(request.once));
    done();
  });
};

/** `Prefer: respond-async` (RFC 7240): another preference is another request. */
export const wantsAsync = ({ headers }: FastifyRequest): boolean =>
  /(^|,)\s*respond-async\s*(;|,|$)/i.test(String(headers.prefer ?? ''));

/** First argument of a command: who asks, under which idempotency key. */
export const callerOf = ({ actor, once }: FastifyRequest): Caller => ({ actor, once });
