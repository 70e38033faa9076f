import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { CallerRule } from './auth.ts';
import { problem } from './schemas.ts';

/** `format` says it better than zod's regular expressions for dates and UUIDs, and the bounds of a double are no bounds. */
const zodToJsonConfig: NonNullable<Parameters<typeof createJsonSchemaTransform>[0]['zodToJsonConfig']> = {
  override: ({ jsonSchema }) => {
    if (jsonSchema.format === 'uuid' || jsonSchema.format === 'date-time') delete jsonSchema.pattern;
    if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
    if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
  },
};
const transformSchema = createJsonSchemaTransform({ zodToJsonConfig });
const transformDocument = createJsonSchemaTransformObject({ zodToJsonConfig });

/** All that the page needs is served here. */
const DOCS_POLICY = {
  'default-src': ["'self'"],
  'img-src': ["'self'", 'data:'],
  'style-src': ["'self'", "'unsafe-inline'"],
  'object-src': ["'none'"],
  'frame-ancestors': ["'self'"],
};

const IDEMPOTENCY_KEY = {
  type: 'object',
  properties: {
    'idempotency-key': {
      type: 'string',
      minLength: 1,
      maxLength: 255,
      description: 'The same key and body: one effect and the same answer, for 24 hours.',
    },
  },
};

const open = (caller: CallerRule | undefined): boolean => caller === 'anyone' || caller === 'stranger';

const PREFER = { type: 'string', enum: ['respond-async'], description: 'Answer 202 at once and decide later.' };

/** A POST that can answer 202 does so when it is preferred. */
const headersOf = (response: unknown): object => {
  const { type, properties } = IDEMPOTENCY_KEY;
  return { type, properties: 202 in (response as object) ? { ...properties, prefer: PREFER } : properties };
};

/** OpenAPI 3.1 out of the schemas that validate, and a page at /docs that works offline. Before the routes. */
export const openApi = async (app: FastifyInstance, version: string): Promise<void> => {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'firstcome',
        version,
        description: 'Amounts are whole won (KRW). Times are RFC 3339, UTC. Errors are RFC 9457 problems with a stable code.',
      },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    },
    transform: (document) => {
      const { schema, url } = transformSchema(document);
      if (!schema || document.schema?.hide) return { schema, url };
      const { config, method } = document.route;
      return {
        url,
        schema: {
          ...schema,
          ...(method === 'POST' ? { headers: headersOf(document.schema?.response) } : {}),
          security: open(config?.caller) ? [] : [{ bearer: [] }],
          description: [`Caller: ${open(config?.caller) ? 'anyone' : config?.caller}.`, schema.description]
            .filter(Boolean)
            .join(' '),
        },
      };
    },
    transformObject: (document) => {
      const object = transformDocument(document);
      // Requests are written out in place; only answers are named.
      const schemas = 'components' in object ? (object.components?.schemas ?? {}) : {};
      for (const name of Object.keys(schemas)) if (name.endsWith('Input')) delete schemas[name];
      for (const operation of Object.values(object.paths ?? {}).flatMap((path) => Object.values(path ?? {}))) {
        const body = (
          operation as {
            requestBody?: { required: boolean; content: { 'application/json': { schema: { properties: object } } } };
          }
        ).requestBody;
        if (body) body.required = Object.keys(body.content['application/json'].schema.properties).length > 0;
      }
      return object;
    },
  });
  const wrong = { description: 'What is wrong, and what to do.', content: { 'application/problem+json': { schema: problem } } };
  app.addHook('onRoute', (route) => {
    if (!route.schema?.response || !route.url.startsWith('/v1/')) return;
    // A query parameter that no schema names would be dropped in silence.
    const querystring = route.schema.querystring ?? z.strictObject({});
    route.schema = {
      ...route.schema,
      querystring,
      response: { ...(route.schema.response as object), '4xx': wrong, '5xx': wrong },
    };
  });
  await app.register(async (docs) => {
    docs.addHook('onRoute', (route) => {
      route.config = { ...route.config, caller: 'anyone' };
    });
    await docs.register(swaggerUi, { routePrefix: '/docs', staticCSP: DOCS_POLICY });
  });
};
