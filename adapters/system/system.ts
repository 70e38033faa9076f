import { argon2, randomBytes, randomUUIDv7, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import type { Passwords, Ports } from '../../core/ports.ts';
import type { Instant } from '../../core/shared/time.ts';

/** The process's clock. */
export const systemClock = (): Instant => Date.now();

export const newUuid: Ports['newId'] = () => randomUUIDv7();

/** Calendar days of an IANA time zone, e.g. `Asia/Seoul`. Throws a RangeError for an unknown zone. */
export const calendar = (timeZone: string): Ports['shopDay'] => {
  // en-CA writes a date as YYYY-MM-DD.
  const format = new Intl.DateTimeFormat('en-CA', { timeZone, year: 'numeric', month: '2-digit', day: '2-digit' });
  return (at) => format.format(at);
};

const digest = promisify(argon2);

/**
 * Argon2id. The default cost is OWASP's (19 MiB, 2 passes; Password Storage Cheat Sheet); the thread pool's four threads
 * bound the memory that many log-ins at once can take. A hash names its cost: `argon2id$KiB$passes$salt$digest`.
 */
export const argon2Passwords = (cost = { memory: 19_456, passes: 2 }): Passwords => {
  const derive = (message: string, nonce: Buffer, { memory, passes }: typeof cost): Promise<Buffer> =>
    digest('argon2id', { message: message.normalize('NFKC'), nonce, parallelism: 1, tagLength: 32, memory, passes });
  const write = (salt: Buffer, tag: Buffer): string =>
    ['argon2id', cost.memory, cost.passes, salt.toString('base64url'), tag.toString('base64url')].join('$');
  const nobody = write(randomBytes(16), randomBytes(32));

  return {
    async hash(password) {
      const salt = randomBytes(16);
      return write(salt, await derive(password, salt, cost));
    },
    async verify(password, hash) {
      const [, memory, passes, salt, tag] = (hash ?? nobody).split('$');
      const expected = Buffer.from(tag as string, 'base64url');
      const actual = await derive(password, Buffer.from(salt as string, 'base64url'), {
        memory: Number(memory),
        passes: Number(passes),
      });
      return timingSafeEqual(actual, expected) && hash !== null;
    },
  };
};
