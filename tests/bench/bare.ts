import Fastify from 'fastify';
import { z } from 'zod';

/**
 * The reference: a Fastify route that takes the same requests and answers the same body, and does nothing. Its own process,
 * as the service is. Prints its address.
 */
const body = JSON.parse(process.argv[2] ?? '{}') as object;
const app = Fastify();
const params = z.strictObject({ id: z.uuid() });
app.post('/v1/campaigns/:id/claims', async (request, reply) => {
  params.parse(request.params);
  return reply.code(201).send(body);
});
process.stdout.write(`${await app.listen({ port: 0, host: '127.0.0.1' })}\n`);
process.once('SIGTERM', () => app.close());
