import type { FastifyInstance } from 'fastify';
import { collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export interface Decisions {
  readonly waiting: number;
  readonly commands: number;
  readonly batches: number;
}

/** What /metrics tells: the process, the requests by route, and how commands are decided. */
export const createMetrics = (decisions: Decisions) => {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const requests = new Histogram({
    name: 'firstcome_http_request_duration_seconds',
    help: 'Time from the first byte of a request to the last of its answer.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers: [registry],
  });
  for (const [name, help, read] of [
    ['firstcome_commands_waiting', 'Commands that wait for the lane.', () => decisions.waiting],
    ['firstcome_commands_decided', 'Commands decided since the start.', () => decisions.commands],
    ['firstcome_batches_decided', 'Transactions that decided them.', () => decisions.batches],
  ] as const) {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  }
  return {
    watch(app: FastifyInstance) {
      app.addHook('onResponse', (request, reply, done) => {
        const labels = { method: request.method, route: request.routeOptions.url ?? 'none', status: String(reply.statusCode) };
        requests.observe(labels, reply.elapsedTime / 1_000);
        done();
      });
    },
    expose: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
  };
};

export type Metrics = ReturnType<typeof createMetrics>;
