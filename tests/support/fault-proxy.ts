import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type NetConnectOpts, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** A COMMIT that has arrived and is not passed on. */
export interface HeldCommit {
  /** Cuts the client off; the server's side stays open, its transaction under way. */
  cut(): void;
  /** Passes it on to the server. Resolves when the server has committed; the client is not told. */
  pass(): Promise<void>;
  /** Ends the server's side: the transaction is rolled back. */
  drop(): void;
}

/** Stands between a client and Postgres (TCP or unix socket), and does what networks do. */
export interface FaultProxy {
  /** The database's URL through the proxy. */
  readonly url: string;
  /** Connections that were asked for, also those that were reset. */
  readonly attempts: number;
  /** Resolves when the next COMMIT has arrived. */
  holdCommit(): Promise<HeldCommit>;
  /** What the client says is kept back from now on, until `release`. */
  hold(): void;
  release(): void;
  /** Swallows everything, on new connections too; `false` ends those and lets new ones through. */
  blackhole(dark: boolean): void;
  /** Ends all connections with RST. */
  reset(): void;
  /** New connections are reset, and all that there are. */
  resetNew(on: boolean): void;
  /** Nobody listens any more; all connections end. `listen` brings it back, on the same port. */
  refuse(): Promise<void>;
  listen(): Promise<void>;
  /** Milliseconds that each piece takes on its way, in both directions. */
  latency(milliseconds: number): void;
  close(): Promise<void>;
}

interface Link {
  readonly client: Socket;
  readonly server: Socket | undefined;
  /** The client is not told what the server says; this is. */
  deaf: ((reply: Buffer) => void) | undefined;
  /** The server's side outlives the client's. */
  kept: boolean;
}

/** What Postgres says when it has committed: CommandComplete with its tag. */
const COMMITTED = Buffer.from('COMMIT\0');
const isCommit = (message: Buffer): boolean => message[0] === 0x51 && /^commit\0$/i.test(message.toString('latin1', 5));

/** Cuts a stream into the messages of Postgres's protocol: the first has no type byte. */
const messages = () => {
  let rest = Buffer.alloc(0);
  let started = false;
  return (chunk: Buffer): Buffer[] => {
    rest = Buffer.concat([rest, chunk]);
    const whole: Buffer[] = [];
    for (;;) {
      const head = started ? 1 : 0;
      if (rest.length < head + 4) return whole;
      const size = head + rest.readInt32BE(head);
      if (rest.length < size) return whole;
      whole.push(rest.subarray(0, size));
      rest = rest.subarray(size);
      started = true;
    }
  };
};

const targetOf = (url: URL): NetConnectOpts => {
  const port = Number(url.searchParams.get('port') ?? (url.port || 5432));
  const host = url.searchParams.get('host') ?? decodeURIComponent(url.hostname);
  return host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port };
};

const throughProxy = (url: URL, port: number): string => {
  const user = url.searchParams.get('user') ?? decodeURIComponent(url.username);
  const through = new URL(`postgresql://127.0.0.1:${port}${url.pathname}`);
  through.username = user;
  through.password = url.password;
  return through.href;
};

/** `rewrite` changes the client's messages on their way; it must keep their length. */
export const faultProxy = async (
  databaseUrl: string,
  { rewrite = (message) => message }: { rewrite?: (message: Buffer) => Buffer } = {},
): Promise<FaultProxy> => {
  const url = new URL(databaseUrl);
  const target = targetOf(url);
  const links = new Set<Link>();
  let attempts = 0;
  let resetting = false;
  let dark = false;
  let slow = 0;
  let gate = Promise.withResolvers<void>();
  gate.resolve();
  let commitWanted: ((held: HeldCommit) => void) | undefined;

  const holdHere = (link: Link, message: Buffer, wanted: (held: HeldCommit) => void): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    link.kept = true;
    link.deaf = () => {};
    wanted({
      cut: () => link.client.destroy(),
      async pass() {
        const committed = Promise.withResolvers<void>();
        let said = Buffer.alloc(0);
        link.deaf = (reply) => {
          said = Buffer.concat([said, reply]);
          if (said.includes(COMMITTED)) committed.resolve();
        };
        link.server?.once('close', () => committed.reject(new Error('the server is gone')));
        link.server?.write(message);
        await committed.promise;
        link.kept = false;
        link.client.destroy();
        link.server?.destroy();
        resolve();
      },
      drop() {
        link.kept = false;
        link.client.destroy();
        link.server?.destroy();
        resolve();
      },
    });
    return promise;
  };

  const accept = (client: Socket) => {
    attempts++;
    client.setNoDelay(true);
    client.on('error', () => {});
    if (resetting) return void client.resetAndDestroy();
    const server = dark ? undefined : connect(target);
    const link: Link = { client, server, deaf: undefined, kept: false };
    links.add(link);
    server?.setNoDelay(true);
    server?.on('error', () => client.destroy());

    const split = messages();
    let sent: Promise<void> = Promise.resolve();
    let answered: Promise<void> = Promise.resolve();
    const send = async (message: Buffer) => {
      if (slow > 0) await delay(slow);
      await gate.promise;
      if (dark || !server || server.destroyed) return;
      const wanted = commitWanted;
      if (wanted && isCommit(message)) {
        commitWanted = undefined;
        return holdHere(link, message, wanted);
      }
      server.write(rewrite(message));
    };
    client.on('data', (chunk) => {
      for (const message of split(chunk as Buffer)) sent = sent.then(() => send(message));
    });
    client.on('close', () => {
      if (link.kept) return;
      links.delete(link);
      server?.destroy();
    });
    server?.on('data', (chunk) => {
      const lag = slow;
      answered = answered.then(async () => {
        if (lag > 0) await delay(lag);
        if (link.deaf) link.deaf(chunk as Buffer);
        else if (!dark && !client.destroyed) client.write(chunk);
      });
    });
    server?.on('close', () => {
      if (dark) return;
      answered.then(() => client.end());
    });
  };

  const listener = createServer(accept);
  const listenOn = async (port: number) => {
    listener.listen(port, '127.0.0.1');
    await once(listener, 'listening');
  };
  await listenOn(0);
  const { port } = listener.address() as AddressInfo;

  /** A held COMMIT's way to the server stays. */
  const endAll = (end: (socket: Socket) => void) => {
    for (const link of links) {
      end(link.client);
      if (link.kept) continue;
      link.server?.destroy();
      links.delete(link);
    }
  };

  const proxy: FaultProxy = {
    url: throughProxy(url, port),
    get attempts() {
      return attempts;
    },
    holdCommit: () =>
      new Promise((resolve) => {
        commitWanted = resolve;
      }),
    hold() {
      gate = Promise.withResolvers();
    },
    release: () => gate.resolve(),
    blackhole(on) {
      dark = on;
      if (!on) endAll((socket) => socket.destroy());
    },
    reset: () => endAll((socket) => socket.resetAndDestroy()),
    resetNew(on) {
      resetting = on;
      if (on) proxy.reset();
    },
    async refuse() {
      const closed = once(listener, 'close');
      listener.close();
      endAll((socket) => socket.destroy());
      await closed;
    },
    listen: () => listenOn(port),
    latency(milliseconds) {
      slow = milliseconds;
    },
    async close() {
      gate.resolve();
      for (const link of links) link.kept = false;
      if (listener.listening) await proxy.refuse();
    },
  };
  return proxy;
};
