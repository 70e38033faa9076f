import { setTimeout as pause } from 'node:timers/promises';
import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController, type RouteOptions } from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';

import type { Instant } from '../../core/shared/time.ts';
import type { Shop } from '../../core/shop.ts';
import { type AuthConfig, createAuth } from './auth.ts';
import { balanceRoutes } from './balance.ts';
import { cartRoutes } from './cart.ts';
import { catalogRoutes } from './catalog.ts';
import { couponRoutes } from './coupons.ts';
import { customerRoutes } from './customers.ts';
import { idempotency } from './idempotency.ts';
import { parseJson } from './json.ts';
import type { Metrics } from './metrics.ts';
import { openApi } from './openapi.ts';
import { orderRoutes } from './orders.ts';
import { HttpProblem, notHttp, problemHandler, routeNotFound } from './problem.ts';

export interface HttpOptions {
  readonly shop: Shop;
  readonly auth: AuthConfig;
  readonly logger: FastifyBaseLogger;
  readonly newId: () => string;
  readonly now: () => Instant;
  /** Requests a second for each subject (or address, without a token); 0 = no limit. */
  readonly rateLimit: number;
  /** Servers that do not answer now: those it cannot work without, and those it only works worse without. */
  readonly away: () => Promise<{ readonly needed: readonly string[]; readonly helpful: readonly string[] }>;
  readonly metrics: Metrics;
  /** False for a worker: probes and metrics only. */
  readonly api: boolean;
  readonly version: string;
}

const REQUEST_ID = /^[\w.-]{8,64}$/;
const KIB = 1_024;
/** JSON has nothing to load and nothing to show; the docs page has a policy of its own. */
const POLICY = "default-src 'none'; frame-ancestors 'none'";

/** The whole HTTP side. `closing()` makes /readyz say no, so that no new work is sent here before `close()`. */
export const createServer = async (options: HttpOptions): Promise<{ app: FastifyInstance; closing: () => void }> => {
  const { shop, newId } = options;
  let leaving = false;

  const app = Fastify({
    loggerInstance: options.logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: 64 * KIB,
    requestTimeout: 5_000,
    keepAliveTimeout: 65_000,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    routerOptions: { maxParamLength: 128 },
    http: { connectionsCheckingInterval: 1_000, headersTimeout: 3_000, maxHeaderSize: 16 * KIB, requireHostHeader: false },
    genReqId: (raw) => {
      const given = raw.headers['x-request-id'];
      return typeof given === 'string' && REQUEST_ID.test(given) ? given : newId();
    },
    // What does not even parse as HTTP is answered in the same shape.
    frameworkErrors: (error, request, reply) => problemHandler(error, request as never, reply as never),
    clientErrorHandler(error, socket) {
      options.logger.debug({ code: error.code }, 'not HTTP');
      // With an answer under way on this connection, another one would be taken for it.
      if (!socket.writable || socket.bytesWritten > 0) return void socket.destroy();
      const { status, body } = notHttp(error, newId);
      const headers = `content-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close`;
      socket.end(`HTTP/1.1 ${status}\r\n${headers}\r\n\r\n${body}`);
    },
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler(problemHandler);
  app.setNotFoundHandler(routeNotFound);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      done(null, parseJson(body as Buffer));
    } catch (error) {
      done(error as Error);
    }
  });

  // A body that did not come says nothing: the schema tells what is missing of it.
  app.addHook('preValidation', (request, _reply, done) => {
    request.body ??= {};
    done();
  });

  const auth = createAuth(options.auth, shop.customers);
  app.decorateRequest('actor');
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id).header('content-security-policy', POLICY);
    try {
      // Node would answer this one itself, with nothing in it.
      if (request.headers.host === undefined && request.raw.httpVersion === '1.1') {
        reply.header('connection', 'close');
        throw new HttpProblem('bad_request');
      }
      const pending = auth.authenticate(request);
      if (pending) pending.then(() => done(), done);
      else done();
    } catch (error) {
      done(error as Error);
    }
  });
  // Whoever keeps a connection is told to open its next one elsewhere, and gets a moment to hear of it.
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (leaving) reply.header('connection', 'close');
    done();
  });
  app.addHook('preClose', async () => {
    leaving = true;
    const connections = () => new Promise<number>((resolve) => app.server.getConnections((_error, count) => resolve(count ?? 0)));
    for (const deadline = Date.now() + 500; Date.now() < deadline && (await connections()) > 0; ) await pause(20);
  });
  if (['debug', 'trace'].includes(options.logger.level)) {
    app.addHook('onResponse', (request, reply, done) => {
      const { method, url } = request;
      request.log.debug({ method, path: url.split('?')[0], status: reply.statusCode, ms: reply.elapsedTime }, 'answered');
      done();
    });
  }

  options.metrics.watch(app);

  const routes: RouteOptions[] = [];
  app.addHook('onRoute', (route) => {
    routes.push(route);
  });
  app.addHook('onReady', async () => {
    const open = routes.filter((route) => route.config?.caller === undefined).map(({ method, url }) => `${method} ${url}`);
    if (open.length > 0) throw new Error(`these routes declare no caller: ${open.join(', ')}`);
  });

  // What means something for JSON.
  await app.register(helmet, {
    // Ours is the same for every answer; helmet would put it together anew each time (3 % of a refused claim).
    contentSecurityPolicy: false,
    crossOriginOpenerPolicy: false,
    originAgentCluster: false,
    dnsPrefetchControl: false,
    ieNoOpen: false,
    permittedCrossDomainPolicies: false,
    xssFilter: false,
  });
  if (options.rateLimit > 0) {
    await app.register(rateLimit, {
      hook: 'preHandler',
      max: options.rateLimit,
      timeWindow: 1_000,
      keyGenerator: ({ actor, ip }) => (actor.role === 'anyone' ? `ip:${ip}` : `${actor.role}:${actor.subject}`),
      errorResponseBuilder: (_request, { ttl }) =>
        new HttpProblem('rate_limited', { retryAfter: Math.max(1, Math.ceil(ttl / 1_000)) }),
    });
  }
  if (options.api) {
    idempotency(app, auth.secret);
    await openApi(app, options.version);
    await app.register(customerRoutes(shop, auth));
    await app.register(catalogRoutes(shop));
    await app.register(balanceRoutes(shop));
    await app.register(cartRoutes(shop));
    await app.register(couponRoutes(shop, options.now, () => leaving));
    await app.register(orderRoutes(shop));
  }

  // Never limited: a balancer's probes come from where its customers come from.
  const probe = {
    config: { caller: 'anyone' as const, rateLimit: false as const },
    schema: { hide: true },
    logLevel: 'warn' as const,
  };
  app.get('/healthz', probe, async () => ({ status: 'ok' }));
  app.get('/readyz', probe, async (_request, reply) => {
    const { needed, helpful } = await options.away();
    const status = leaving ? 'closing' : needed.length > 0 ? 'away' : 'ready';
    return reply.code(status === 'ready' ? 200 : 503).send({ status, away: [...needed, ...helpful] });
  });
  app.get('/metrics', probe, async (_request, reply) => {
    const { contentType, body } = await options.metrics.expose();
    return reply.type(contentType).send(body);
  });

  return {
    app,
    closing: () => {
      leaving = true;
    },
  };
};
