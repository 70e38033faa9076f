import { Ajv2020 } from 'ajv/dist/2020.js';
import type { Answer, Json } from '../support/http.ts';

export interface Operation {
  /** As in `POST /v1/orders/{id}/payment`. */
  readonly name: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly caller: 'anyone' | 'customer' | 'operator' | 'customer or operator';
  readonly parameters: readonly { readonly name: string; readonly in: string; readonly schema: Json }[];
  /** JSON Schema of the body; undefined without one. */
  readonly body: Json;
  readonly document: Json;
}

/** Every operation of an OpenAPI document of ours. */
export const operationsOf = (document: Json): Operation[] =>
  Object.entries<Json>(document.paths).flatMap(([path, operations]) =>
    Object.entries<Json>(operations).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path}`,
      method: method.toUpperCase() as Operation['method'],
      path,
      caller: /^Caller: (.+?)\./.exec(operation.description)?.[1] as Operation['caller'],
      parameters: operation.parameters ?? [],
      body: operation.requestBody?.content['application/json'].schema,
      document: operation,
    })),
  );

const pointer = (part: string): string => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'));

/** Says what of an answer the document does not say of its operation and status; nothing when all is as it is written. */
export const answerChecker = (document: Json) => {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  ajv.addFormat('uuid', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  ajv.addFormat('date-time', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  ajv.addFormat('email', /^[^@\s]+@[^@\s]+$/);
  ajv.addSchema({ $id: 'openapi', ...document });

  return ({ method, path, document: { responses } }: Operation, { status, headers, text, body }: Answer): string[] => {
    const key = [String(status), `${Math.floor(status / 100)}XX`].find((each) => each in responses);
    if (key === undefined) return [`status ${status} is not documented`];
    const content = responses[key].content;
    if (!content) return text === '' ? [] : [`status ${status} has a body`];
    const type = String(headers['content-type']).split(';')[0] as string;
    if (!(type in content)) return [`status ${status} as ${type} is not documented`];
    const place = ['paths', path, method.toLowerCase(), 'responses', key, 'content', type, 'schema'].map(pointer).join('/');
    const $ref = `openapi#/${place}`;
    const validate = ajv.getSchema($ref) ?? ajv.compile({ $ref });
    return validate(type.endsWith('json') ? body : text)
      ? []
      : (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  };
};
