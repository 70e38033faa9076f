import { once } from 'node:events';
import { Agent, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { type Customer, expectWholeProblem, type HttpWorld, type Json, type Options, openHttp, parsed } from '../support/http.ts';

interface Listening {
  readonly world: HttpWorld;
  readonly port: number;
}

/** A server that listens, for as long as the work takes. */
const listening = async (work: (listening: Listening) => Promise<void>, options: Options = {}): Promise<void> => {
  const world = await openHttp(options);
  await world.app.listen({ port: 0, host: '127.0.0.1' });
  try {
    await work({ world, port: (world.app.server.address() as AddressInfo).port });
  } finally {
    world.app.server.closeAllConnections();
    await world.app.close();
  }
};

const open = async (port: number): Promise<Socket> => {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
};

interface Reply {
  readonly status: number;
  readonly headers: { readonly [name: string]: string };
  readonly text: string;
}
/** What was answered on a socket until it was closed, answer by answer. */
const replies = (raw: string): Reply[] => {
  const found: Reply[] = [];
  for (let rest = raw; rest.startsWith('HTTP/1.1 '); ) {
    const [head = '', ...tail] = rest.split('\r\n\r\n');
    const [first = '', ...lines] = head.split('\r\n');
    const headers = Object.fromEntries(lines.map((line) => [line.split(':')[0]?.toLowerCase(), line.replace(/^[^:]*:\s*/, '')]));
    const after = tail.join('\r\n\r\n');
    const length = Number(headers['content-length'] ?? 0);
    found.push({ status: Number(first.split(' ')[1]), headers, text: after.slice(0, length) });
    rest = after.slice(length);
  }
  return found;
};

/** Everything that comes, when these bytes go. */
const exchange = async (port: number, bytes: string | Buffer): Promise<Reply[]> => {
  const socket = await open(port);
  socket.write(bytes);
  return replies(await text(socket).catch(() => ''));
};
const expectProblemOnWire = ({ status, headers, text }: Reply): Json =>
  expectWholeProblem({ status, headers, text, body: parsed(text) });

/** Asks again and again, until told to stop: how many were answered, and the slowest of them in milliseconds. */
const others = (port: number) => {
  let stopped = false;
  const loop = async () => {
    let count = 0;
    let slowest = 0;
    for (; !stopped; count++) {
      const asked = performance.now();
      const response = await fetch(`http://127.0.0.1:${port}/v1/products?limit=1`);
      expect(response.status).toBe(200);
      await response.text();
      slowest = Math.max(slowest, performance.now() - asked);
      await new Promise(setImmediate);
    }
    return { count, slowest };
  };
  const done = loop();
  return () => {
    stopped = true;
    return done;
  };
};

const POST = 'POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';

describe.concurrent('a listening server', () => {
  test.each([
    ['nothing', ''],
    ['half of a request line', 'GET /v1/prod'],
    ['half of the headers', 'GET /v1/products HTTP/1.1\r\nHost: x\r\nX-Slow: '],
  ])('cuts who sends %s within 5 s, and serves the others meanwhile', (_what, bytes) =>
    listening(async ({ port }) => {
      const stop = others(port);
      const started = performance.now();
      const sockets = await Promise.all(Array.from({ length: 20 }, () => open(port)));
      for (const socket of sockets) if (bytes) socket.write(bytes);
      await Promise.all(sockets.map((socket) => text(socket).catch(() => '')));
      expect(performance.now() - started).toBeLessThan(5_000);
      const { count, slowest } = await stop();
      expect(count).toBeGreaterThan(100);
      expect(slowest).toBeLessThan(1_000);
    }),
  );

  test('cuts who sends a header letter by letter within 5 s', () =>
    listening(async ({ port }) => {
      const started = performance.now();
      const socket = await open(port);
      socket.write('GET /v1/products HTTP/1.1\r\nHost: x\r\nX-Slow: ');
      const drip = setInterval(() => socket.write('x'), 50);
      await text(socket).catch(() => '');
      clearInterval(drip);
      expect(performance.now() - started).toBeLessThan(5_000);
    }));

  test('cuts who does not send the body that was announced, and serves the others meanwhile', () =>
    listening(async ({ port }) => {
      const stop = others(port);
      const started = performance.now();
      await exchange(port, `${POST}Content-Length: 1000\r\n\r\n{"email":`);
      expect(performance.now() - started).toBeLessThan(7_500);
      expect((await stop()).count).toBeGreaterThan(100);
    }));

  test.each([
    ['announced', `Content-Length: 70000\r\n\r\n${'x'.repeat(70_000)}`],
    ['announced and not sent', 'Content-Length: 9999999999\r\n\r\n'],
    ['in chunks', `Transfer-Encoding: chunked\r\n\r\n${`8000\r\n${'x'.repeat(0x8000)}\r\n`.repeat(3)}0\r\n\r\n`],
  ])('answers 413 to a body of more than 64 KiB (%s) and lets go', (_how, rest) =>
    listening(async ({ world, port }) => {
      const before = await world.state();
      const [reply] = await exchange(port, `${POST}${rest}`);
      expect(expectProblemOnWire(reply as Reply).code).toBe('body_too_large');
      expect(await world.state()).toEqual(before);
    }),
  );

  const garbage: [string, string | Buffer][] = [
    ['no HTTP at all', 'hello\r\n\r\n'],
    ['a TLS hello', Buffer.from('160301020001', 'hex')],
    ['another version', 'GET / HTTP/9.9\r\n\r\n'],
    ['a header without a colon', 'GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n'],
    ['a header with a line break in it', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\rc: d\r\n\r\n'],
    ['two lengths', `${POST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`],
    ['length and chunks at once', `${POST}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}`],
    ['a negative length', `${POST}Content-Length: -1\r\n\r\n{}`],
    ['a bad chunk', `${POST}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`],
    ['headers of 20 KiB', `GET / HTTP/1.1\r\nHost: x\r\nA: ${'x'.repeat(20_000)}\r\n\r\n`],
    ['a space in the path', 'GET /v1/products /x HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['no host', 'GET /v1/products HTTP/1.1\r\n\r\n'],
  ];
  const FIRST = 'GET /v1/products HTTP/1.1\r\nHost: x\r\n\r\n';
  const meets = (bytes: string | Buffer, expectReply: (reply: Reply) => void) =>
    listening(async ({ world, port }) => {
      const before = await world.state();
      const answered = await exchange(port, bytes);
      expect(answered.length).toBeLessThanOrEqual(1);
      for (const reply of answered) expectReply(reply);
      // Behind a good request: that one may lose its answer, the connection is closed.
      await exchange(port, Buffer.concat([Buffer.from(FIRST), Buffer.from(bytes)]));
      expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
      expect(await world.state()).toEqual(before);
    });

  test.each(garbage)('closes the connection that brings %s, alone or behind a good request, and lives on', (_what, bytes) =>
    meets(bytes, ({ status }) => expect([400, 408, 413, 431, 505]).toContain(status)),
  );

  test('answers a problem to what it cannot parse', async () => {
    for (const [, bytes] of garbage) await meets(bytes, (reply) => void expectProblemOnWire(reply));
  });

  test('answers requests in one packet one after the other', () =>
    listening(async ({ port }) => {
      const last = FIRST.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n');
      const answered = await exchange(port, `${FIRST}GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n${last}`);
      expect(answered.map(({ status }) => status)).toEqual([200, 404, 200]);
    }));

  test('forgets a client that goes away, and its idempotency key serves again', () =>
    listening(async ({ world, port }) => {
      const kim = await world.customer();
      const { reached, release } = world.hold();
      const socket = await open(port);
      const body = '{"amount":1000}';
      const head = `POST /v1/balance/charges HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${kim.token}\r\nContent-Type: application/json\r\n`;
      socket.write(`${head}Idempotency-Key: gone\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      await reached;
      socket.destroy();
      release();
      // 409 while the abandoned one still runs.
      const again = async (): Promise<number> => {
        const { status } = await kim.post('/v1/balance/charges', { amount: 1_000 }, { 'idempotency-key': 'gone' });
        return status === 409 ? again() : status;
      };
      expect(await again()).toBe(201);
      expect((await kim.get('/v1/balance')).body.balance).toBe(1_000);
    }));
});

/** One request on a kept connection. */
const ask = (agent: Agent, port: number, kim: Customer, body?: unknown) =>
  new Promise<{ status: number; connection: string | undefined; reused: boolean; text: string }>((resolve, reject) => {
    const asking = request(
      {
        agent,
        port,
        host: '127.0.0.1',
        path: body ? '/v1/balance/charges' : '/v1/balance',
        method: body ? 'POST' : 'GET',
        headers: { authorization: `Bearer ${kim.token}`, ...(body ? { 'content-type': 'application/json' } : {}) },
      },
      (response) => {
        const { statusCode, headers } = response;
        text(response).then(
          (said) =>
            resolve({ status: statusCode as number, connection: headers.connection, reused: asking.reusedSocket, text: said }),
          reject,
        );
      },
    );
    asking.on('error', (error) => reject(Object.assign(error, { reused: asking.reusedSocket })));
    asking.end(body ? JSON.stringify(body) : undefined);
  });

describe('a server that closes', () => {
  const inFlight = (expectAnswer: (answer: Awaited<ReturnType<typeof ask>>) => void) =>
    listening(async ({ world, port }) => {
      const buyers = await Promise.all(Array.from({ length: 10 }, () => world.customer()));
      const agent = new Agent({ keepAlive: true, maxSockets: 10 });
      await Promise.all(buyers.map((kim) => ask(agent, port, kim)));
      const { reached, release } = world.hold(buyers.length);
      const running = buyers.map((kim) => ask(agent, port, kim, { amount: 1_000 }));
      await reached;
      world.closing();
      const closed = world.app.close();
      release();
      for (const answer of await Promise.all(running)) expectAnswer(answer);
      await closed;
      await expect(fetch(`http://127.0.0.1:${port}/healthz`)).rejects.toThrow();
      expect((await world.books()).accounts.map(({ balance }) => balance)).toEqual(Array(10).fill(1_000));
      agent.destroy();
    });
  test('answers all that was asked before, and takes no new ones', () =>
    inFlight((answer) => expect(answer).toMatchObject({ status: 201, reused: true })));
  // Those that were asked before close() are answered with `connection: keep-alive`, and then reset.
  test('tells those whom it answers last that it closes', () =>
    inFlight((answer) => expect(answer).toMatchObject({ status: 201, connection: 'close' })));

  const load = (world: HttpWorld, port: number, kim: Customer, clients: number) => {
    const failed: unknown[] = [];
    let answered = 0;
    const client = async () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      for (;;) {
        const outcome = await ask(agent, port, kim).catch((error: NodeJS.ErrnoException & { reused: boolean }) => error);
        if (outcome instanceof Error) {
          // Nobody listens any more: the next replica's turn. What fails on a connection that was open is a failure.
          if (outcome.code !== 'ECONNREFUSED') failed.push([outcome.code, outcome.reused]);
          break;
        }
        if (outcome.status !== 200) failed.push(outcome);
        answered++;
        if (outcome.connection === 'close') break;
      }
      agent.destroy();
    };
    const done = Promise.all(Array.from({ length: clients }, client));
    return { failed, answered: () => answered, done, world };
  };

  // close() resets kept connections on which a request is on its way: server.ts should first answer with `connection: close`.
  test('fails no request of clients that keep their connections busy', () =>
    listening(async ({ world, port }) => {
      const running = load(world, port, await world.customer(), 16);
      while (running.answered() < 200) await new Promise(setImmediate);
      world.closing();
      await world.app.close();
      await running.done;
      expect(running.failed).toEqual([]);
    }));
});
