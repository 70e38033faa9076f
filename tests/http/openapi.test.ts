import { describe, expect, test } from 'vitest';
import { type Json, openHttp } from '../support/http.ts';
import { answerChecker, operationsOf } from './document.ts';

const world = await openHttp();
const { anyone } = world;
const document = (await anyone.get('/docs/json')).body;
const operations = operationsOf(document);

/** Every object in a JSON value. */
const nodes = (value: Json): Json[] =>
  typeof value === 'object' && value !== null ? [value, ...Object.values(value).flatMap(nodes)] : [];

describe('the document', () => {
  test('is OpenAPI 3.1 with what the standard wants of it', () => {
    expect(document.openapi).toMatch(/^3\.1\.\d+$/);
    expect(document.info).toMatchObject({ title: 'firstcome', version: '0.0.0' });
    const allowed = [
      'openapi',
      'info',
      'jsonSchemaDialect',
      'servers',
      'paths',
      'webhooks',
      'components',
      'security',
      'tags',
      'externalDocs',
    ];
    for (const key of Object.keys(document)) expect(allowed).toContain(key);
    for (const path of Object.keys(document.paths)) expect(path).toMatch(/^\/v1(\/([a-z-]+|\{[a-z]+\}))+$/);
    expect(operations.length).toBeGreaterThan(20);
  });

  test('all that it refers to is in it, and all that it names is referred to', () => {
    const refs = new Set<string>(nodes(document).flatMap((node) => (typeof node.$ref === 'string' ? [node.$ref] : [])));
    for (const ref of refs) {
      expect(ref).toMatch(/^#\//);
      expect(
        ref
          .slice(2)
          .split('/')
          .reduce((at: Json, part) => at?.[part], document),
        ref,
      ).toBeTypeOf('object');
    }
    const named = Object.keys(document.components.schemas).map((name) => `#/components/schemas/${name}`);
    expect(named.filter((name) => !refs.has(name))).toEqual([]);
  });

  test('its schemas are JSON Schema', () => {
    expect(() => answerChecker(document)).not.toThrow();
    for (const operation of operations)
      for (const [status, { content }] of Object.entries<Json>(operation.document.responses))
        for (const type of Object.keys(content ?? {}))
          expect(() =>
            answerChecker(document)(operation, {
              status: Number.parseInt(status.replace(/X/g, '0'), 10),
              headers: { 'content-type': type },
              text: '',
              body: null,
            }),
          ).not.toThrow();
  });

  // openapi.ts gives its overrides to the operations only, not to the components.
  test('bears no bounds of a double', () => {
    const bounds = nodes(document).filter(
      ({ minimum, maximum }) => minimum === Number.MIN_SAFE_INTEGER || maximum === Number.MAX_SAFE_INTEGER,
    );
    expect(bounds).toEqual([]);
  });

  test('every list says how it is paged', () => {
    const lists = operations.filter(
      ({ document: { responses } }) => responses['200']?.content?.['application/json']?.schema.properties?.nextCursor,
    );
    expect(lists.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['GET /v1/products', 'GET /v1/orders', 'GET /v1/balance/entries']),
    );
    for (const { parameters } of lists) {
      expect(parameters.find(({ name }) => name === 'limit')).toMatchObject({
        in: 'query',
        schema: { type: 'integer', minimum: 1, maximum: 100 },
      });
      expect(parameters.find(({ name }) => name === 'cursor')).toMatchObject({ in: 'query' });
    }
  });

  test.each(operations)(
    '$name says what it is, for whom, and what it answers',
    ({ method, path, caller, parameters, body, document }) => {
      expect(document.summary).toMatch(/^[A-Z].+[^.]$/);
      expect(document.tags).toHaveLength(1);
      expect(['anyone', 'customer', 'operator', 'customer or operator']).toContain(caller);
      expect(document.security).toEqual(caller === 'anyone' ? [] : [{ bearer: [] }]);
      const statuses = Object.keys(document.responses);
      expect(statuses.filter((status) => /^2/.test(status)).length).toBeGreaterThan(0);
      for (const wrong of ['4XX', '5XX'])
        expect(Object.keys(document.responses[wrong].content)).toEqual(['application/problem+json']);
      expect(parameters.filter((each) => each.in === 'path').map(({ name }) => name)).toEqual(
        [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
      );
      expect(parameters.some(({ name }) => name === 'idempotency-key')).toBe(method === 'POST');
      if (method === 'GET' || method === 'DELETE') expect(body).toBeUndefined();
      else if (body) expect(body).toMatchObject({ type: 'object', additionalProperties: false });
    },
  );

  test('the names of the operations serve once', () => {
    const ids = operations.map(({ document }) => document.operationId).filter(Boolean);
    expect(new Set(ids).size).toBe(ids.length);
    expect(new Set(operations.map(({ document }) => document.summary)).size).toBe(operations.length);
  });
});

/** As the router has them, in the writing of OpenAPI: it prints a tree of what paths have in common. */
const routes = (): string[] => {
  const stack: string[] = [];
  return world.app
    .printRoutes()
    .split('\n')
    .flatMap((line) => {
      const [, indent = '', part = '', methods = ''] = /^([\s│├└─]*)(\S+)(?: \(([A-Z, ]+)\))?$/.exec(line) ?? [];
      stack.splice(indent.length / 4 - 1, stack.length, part);
      const path = stack.join('').replace(/:(\w+)/g, '{$1}');
      return methods
        .split(', ')
        .filter((method) => method !== '' && method !== 'HEAD')
        .map((method) => `${method} ${path}`);
    });
};

test('every route of the server is in the document, and nothing else', () => {
  const api = routes().filter((route) => !/ \/(docs|healthz|readyz|metrics)\b/.test(route));
  expect(api.sort()).toEqual(operations.map(({ name }) => name).sort());
});

describe('the docs page', () => {
  test('needs nothing but this server', async () => {
    const page = await anyone.get('/docs');
    expect(page.status).toBe(200);
    expect(page.headers['content-type']).toMatch(/^text\/html/);
    const assets = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url]) => url as string);
    expect(assets.length).toBeGreaterThanOrEqual(4);
    for (const url of assets) {
      expect(url).toMatch(/^\/docs\//);
      const asset = await anyone.get(url);
      expect([url, asset.status]).toEqual([url, 200]);
      expect(asset.text.length).toBeGreaterThan(10);
    }
    const initializer = (await anyone.get('/docs/static/swagger-initializer.js')).text;
    expect(initializer).toMatch(/validatorUrl: (null|"none")/);
    expect(initializer).not.toMatch(/https?:\/\/(?!stackoverflow\.com)/);
    expect((await anyone.get('/docs/static/swagger-ui.css')).text).not.toMatch(/(url\(|@import )["']?(https?:)?\/\//);
    expect((await anyone.get('/docs/yaml')).text).toMatch(/^openapi: ["']?3\.1/m);
  });

  // staticCSP brings a policy of its own: over plain http, other than on loopback, browsers ask https for every asset.
  test('serves over plain http, too: its policy does not ask browsers for https', async () => {
    expect(String((await anyone.get('/docs')).headers['content-security-policy'])).not.toContain('upgrade-insecure-requests');
  });

  // staticCSP allows pictures of validator.swagger.io.
  test('its policy lets nothing in from elsewhere', async () => {
    expect(String((await anyone.get('/docs')).headers['content-security-policy'])).not.toMatch(/https:|swagger\.io/);
  });

  test.each(['/docs/static/../../package.json', '/docs/static/%2e%2e/%2e%2e/package.json', '/docs/static/..%2fpackage.json'])(
    '%s is not served',
    async (path) => {
      const answer = await anyone.get(path);
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.status).toBeLessThan(500);
    },
  );
});

test('a route that declares no caller stops the boot', async () => {
  const forgotten = openHttp({ routes: (app) => void app.get('/v1/forgotten', async () => 'open') });
  await expect(forgotten).rejects.toThrow(/declare no caller: .*\/v1\/forgotten/);
  const declared = { config: { caller: 'anyone' } } as const;
  const { anyone } = await openHttp({ routes: (app) => void app.get('/v1/forgotten', declared, async () => 'open') });
  expect((await anyone.get('/v1/forgotten')).text).toBe('open');
});
