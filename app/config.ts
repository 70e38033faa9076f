import { z } from 'zod';

const whole = (min: number, max: number) => z.string().regex(/^\d+$/).transform(Number).pipe(z.int().min(min).max(max));

const timeZone = z.string().refine((zone) => {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
});

const won = whole(1, 1_000_000_000_000);

/** Every variable: what is allowed (said when it is not), and the default. */
const variables = {
  PORT: { allowed: 'a port, 0 to 65535 (0: any free one)', schema: whole(0, 65_535), default: '3000' },
  HOST: { allowed: 'an address to listen on', schema: z.string().min(1), default: '127.0.0.1' },
  ROLE: { allowed: 'api, worker or all', schema: z.enum(['api', 'worker', 'all']), default: 'all' },
  DATA_DIR: { allowed: 'a directory, for the embedded Postgres', schema: z.string().min(1), default: '.data' },
  DATABASE_URL: { allowed: 'postgres://…', schema: z.string().regex(/^postgres(ql)?:\/\//), default: undefined },
  REDIS_URL: { allowed: 'redis://… or rediss://…', schema: z.string().regex(/^rediss?:\/\//), default: undefined },
  OPERATOR_API_KEY: {
    allowed: '16 to 256 visible characters',
    schema: z.string().regex(/^[\x21-\x7e]{16,256}$/),
    default: undefined,
  },
  JWT_SECRET: { allowed: 'at least 32 characters', schema: z.string().min(32), default: undefined },
  JWT_JWKS_URL: { allowed: 'https://… (http:// on loopback)', schema: z.url({ protocol: /^https?$/ }), default: undefined },
  JWT_ISSUER: { allowed: 'a name', schema: z.string().min(1), default: 'firstcome' },
  JWT_AUDIENCE: { allowed: 'a name', schema: z.string().min(1), default: 'firstcome' },
  SHOP_TIME_ZONE: { allowed: 'an IANA time zone such as Asia/Seoul', schema: timeZone, default: 'Asia/Seoul' },
  LOG_LEVEL: {
    allowed: 'fatal, error, warn, info, debug, trace or silent',
    schema: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
    default: 'info',
  },
  RATE_LIMIT: {
    allowed: 'requests a second for each subject, 0 to 100000 (0: no limit)',
    schema: whole(0, 100_000),
    default: '0',
  },
  CHARGE_MIN: { allowed: 'whole won', schema: won, default: '1000' },
  CHARGE_MAX: { allowed: 'whole won', schema: won, default: '1000000' },
  CHARGE_STEP: { allowed: 'whole won', schema: won, default: '1000' },
  CHARGES_PER_DAY: { allowed: 'a count, 1 to 1000000', schema: whole(1, 1_000_000), default: '3' },
  CHARGES_PER_MONTH: { allowed: 'a count, 1 to 1000000', schema: whole(1, 1_000_000), default: '10' },
  DISCOUNT_CAP_PERCENT: { allowed: 'percent of the goods total, 1 to 99', schema: whole(1, 99), default: '50' },
  ORDER_TTL_SECONDS: { allowed: 'seconds, 1 to 604800', schema: whole(1, 604_800), default: '600' },
  SESSION_TTL_DAYS: { allowed: 'days, 1 to 365', schema: whole(1, 365), default: '30' },
  SHUTDOWN_DELAY_SECONDS: {
    allowed: 'seconds between /readyz saying no and the last request, 0 to 20',
    schema: whole(0, 20),
    default: '0',
  },
} as const;

type Variables = typeof variables;
export type Config = {
  readonly [N in keyof Variables]:
    | z.output<Variables[N]['schema']>
    | (Variables[N]['default'] extends string ? never : undefined);
};

/** What the environment says. Throws one Error that names every bad variable and what is allowed. */
export const readConfig = (environment: { readonly [name: string]: string | undefined }): Config => {
  const wrong: string[] = [];
  const values = Object.entries(variables).map(([name, variable]) => {
    const given = environment[name] === '' ? undefined : environment[name];
    const text = given ?? variable.default;
    if (text === undefined) return [name, undefined];
    const parsed = variable.schema.safeParse(text);
    if (!parsed.success) wrong.push(`${name} must be ${variable.allowed}`);
    return [name, parsed.data];
  });
  const config = Object.fromEntries(values) as Config;

  if (config.JWT_SECRET && config.JWT_JWKS_URL) wrong.push('JWT_SECRET and JWT_JWKS_URL exclude each other');
  if (config.JWT_JWKS_URL && !isSafe(config.JWT_JWKS_URL)) wrong.push(`JWT_JWKS_URL must be ${variables.JWT_JWKS_URL.allowed}`);
  if (!config.DATABASE_URL && config.HOST && !LOOPBACK.test(config.HOST)) {
    wrong.push('HOST must be a loopback address for the embedded default; set DATABASE_URL to serve others');
  }
  if (config.CHARGE_MIN > config.CHARGE_MAX) wrong.push('CHARGE_MIN must not be above CHARGE_MAX');
  if (wrong.length > 0) throw new Error(`the configuration is wrong: ${wrong.join('; ')}`);
  return config;
};

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/;
const isSafe = (url: string): boolean => {
  const { protocol, hostname } = new URL(url);
  return protocol === 'https:' || LOOPBACK.test(hostname) || hostname === '[::1]';
};

/** The only reader of the environment. */
export const environment = (): { readonly [name: string]: string | undefined } => process.env;
