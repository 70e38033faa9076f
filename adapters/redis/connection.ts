import { Redis, ReplyError } from 'ioredis';

/** Redis did not answer, or was not asked because it did not answer a moment ago. The command may still have run. */
export class RedisAway extends Error {
  override readonly name = 'RedisAway';
}

export interface RedisConnectionOptions {
  /** Before every key and channel. Default `firstcome:`. */
  readonly prefix?: string;
  /**
   * Milliseconds until a command without an answer counts as lost, default 500. It is also the most that Redis costs a
   * request: the first command lost rejects all others, and none is sent again until Redis has answered a probe.
   */
  readonly commandTimeout?: number;
}

export interface RedisConnection {
  /** Never subscribed, never blocked. Reach it through `ask`; directly only where nobody waits for the answer. */
  readonly commands: Redis;
  /** For subscriptions only; see `listen`. */
  readonly subscriber: Redis;
  readonly prefix: string;
  /** Connected, and the last command was answered in time. */
  ready(): boolean;
  /**
   * The answer to `call`. Throws `RedisAway` at once while not `ready()`, and within `commandTimeout` in any case; a
   * ReplyError when Redis answers with an error.
   */
  ask<T>(call: (commands: Redis) => Promise<T>): Promise<T>;
  /** Hears a channel until `close`. `subscribed` tells each time that hearing begins (again): what was said before is lost. */
  listen(channel: string, on: { heard(message: string): void; subscribed(): void }): void;
  /** Tells each time that `ready()` turns false, after all that was asked has been rejected. */
  onAway(listener: () => void): void;
  /** Redis answers now. Never throws. */
  ping(): Promise<boolean>;
  /** A warning, at most one in five seconds, without what the error object carries (a ReplyError holds AUTH's arguments). */
  report(error: unknown, message: string): void;
  /** Lets commands on their way finish, for at most `commandTimeout`. Never throws. */
  close(): Promise<void>;
}

const PROBE_EVERY = 500;
const WARN_EVERY = 5_000;

/** Connects in the background, and again for ever. Until then `ready()` is false. */
export const connectRedis = (
  url: string,
  log: { warn(o: object, m: string): void },
  { prefix = 'firstcome:', commandTimeout = 500 }: RedisConnectionOptions = {},
): RedisConnection => {
  const options = {
    commandTimeout,
    connectTimeout: 2_000,
    // A socket that is cut without a word (cable, firewall) never closes by itself: commands without an answer end it.
    socketTimeout: 2_000,
    disconnectTimeout: 500,
    keepAlive: 5_000,
    // A command whose answer was lost may have run: never send it twice, and never send it late.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: false,
    // ioredis drops the promise of its own resubscription: when that fails, an unhandled rejection ends the process.
    autoResubscribe: false,
    retryStrategy: (attempt: number) => Math.min(50 * 2 ** attempt, 1_000) * (0.5 + Math.random() / 2),
    // After a fail-over the old primary refuses writes: find the new one.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  };
  const commands = new Redis(url, { ...options, enableAutoPipelining: true });
  const subscriber = new Redis(url, options);

  let warnedAt = -Infinity;
  let unsaid = 0;
  const report = (error: unknown, message: string) => {
    if (performance.now() - warnedAt < WARN_EVERY) {
      unsaid += 1;
      return;
    }
    const { message: reason, code } = error as { message?: string; code?: string };
    const { password } = commands.options;
    log.warn({ reason: password ? reason?.replaceAll(password, '***') : reason, code, unsaid }, `redis: ${message}`);
    warnedAt = performance.now();
    unsaid = 0;
  };
  const ignore = () => {};

  let away = false;
  let closed = false;
  const pending = new Set<(error: RedisAway) => void>();
  const awayListeners: (() => void)[] = [];

  const ready = () => !away && commands.status === 'ready';
  const back = () => {
    away = false;
  };
  const probe = () => {
    setTimeout(() => {
      if (!away || closed) return;
      // A subscriber asks nothing by itself and would not notice that its socket is dead; with this it does.
      subscriber.ping().catch(ignore);
      if (commands.status === 'ready') commands.ping().then(back, probe);
      else probe();
    }, PROBE_EVERY).unref();
  };
  const goAway = (reason: Error) => {
    if (away || closed) return;
    away = true;
    report(reason, 'away');
    const lost = [...pending];
    pending.clear();
    for (const reject of lost) reject(new RedisAway(reason.message));
    for (const listener of awayListeners) listener();
    probe();
  };
  commands.on('error', (error) => report(error, 'connection failed'));
  commands.on('close', () => goAway(new Error('the connection is closed')));

  const ask = <T>(call: (commands: Redis) => Promise<T>): Promise<T> => {
    if (!ready()) return Promise.reject(new RedisAway('not connected'));
    const answer = call(commands);
    return new Promise((resolve, reject) => {
      pending.add(reject);
      answer.then(
        (value) => {
          pending.delete(reject);
          resolve(value);
        },
        (error: Error) => {
          pending.delete(reject);
          if (error instanceof ReplyError) return reject(error);
          reject(new RedisAway(error.message));
          goAway(error);
        },
      );
    });
  };

  const listeners: { channel: string; on: { heard(message: string): void; subscribed(): void } }[] = [];
  const subscribe = (listener: (typeof listeners)[number]) => {
    if (closed || subscriber.status !== 'ready') return;
    subscriber.subscribe(listener.channel).then(
      () => listener.on.subscribed(),
      (error) => {
        report(error, 'not subscribed');
        setTimeout(subscribe, PROBE_EVERY, listener).unref();
      },
    );
  };
  subscriber.on('error', (error) => report(error, 'subscriber failed'));
  subscriber.on('ready', () => listeners.forEach(subscribe));
  subscriber.on('message', (channel, message) => {
    for (const listener of listeners) if (listener.channel === channel) listener.on.heard(message);
  });

  const ping = async () => {
    try {
      return (await ask((redis) => redis.ping())) === 'PONG';
    } catch {
      return false;
    }
  };

  return {
    commands,
    subscriber,
    prefix,
    ready,
    ask,
    ping,
    report,
    listen(channel, on) {
      const listener = { channel, on };
      listeners.push(listener);
      subscribe(listener);
    },
    onAway: (listener) => void awayListeners.push(listener),
    async close() {
      // Not QUIT: ioredis does not pipeline it, so it would overtake the commands that wait for their pipeline.
      await ping();
      closed = true;
      commands.disconnect();
      subscriber.disconnect();
    },
  };
};
