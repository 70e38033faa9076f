import { argon2, hash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import type { Passwords, Ports } from '../../core/ports.ts';
import type { Instant } from '../../core/shared/time.ts';

/** The process's clock. */
export const systemClock = (): Instant => Date.now();

let lastMillisecond = 0;
let count = 0;

/** UUIDs of version 7 that always rise within a process: 12 bits count within a millisecond (RFC 9562, 6.2, method 1). */
export const newUuid: Ports['newId'] = () => {
  const now = Date.now();
  if (now > lastMillisecond) {
    lastMillisecond = now;
    count = 0;
  } else if (++count > 0xfff) {
    // More than 4,096 in a millisecond, or a clock that went back: borrow from the next one.
    lastMillisecond++;
    count = 0;
  }
  const time = lastMillisecond.toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${count.toString(16).padStart(3, '0')}-${randomUUID().slice(19)}`;
};

/** A UUID of version 8 out of both ids: the same two always give the same one. */
export const claimId: Ports['claimId'] = (campaignId, customerId) => {
  const digest = hash('sha256', `${campaignId}/${customerId}`);
  const variant = ((Number.parseInt(digest[16] as string, 16) & 0x3) | 0x8).toString(16);
  return `${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-${variant}${digest.slice(17, 20)}-${digest.slice(20, 32)}`;
};

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
