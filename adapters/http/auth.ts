import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify, SignJWT } from 'jose';
import type { Session } from '../../core/customer/customer.ts';
import type { Actor } from '../../core/shared/actor.ts';
import { refuse, Unavailable } from '../../core/shared/refusal.ts';
import type { Shop } from '../../core/shop.ts';
import { HttpProblem } from './problem.ts';

/**
 * Who may call a route: `customer` and `operator` need a token of that role. `anyone` may come without one; a `stranger` may
 * too, and a token that it still sends is not looked at, so that an old one does not keep it from logging in.
 */
export type CallerRule = 'anyone' | 'stranger' | 'customer' | 'operator' | 'customer or operator';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Every route declares who may call it; one that does not stops the boot. */
    caller?: CallerRule;
  }
  interface FastifyRequest {
    actor: Actor;
  }
}

export interface AuthConfig {
  readonly issuer: string;
  readonly audience: string;
  /** Signs and verifies tokens (HS256); or an outside identity provider's keys, and no log-in here. */
  readonly keys: { readonly secret: string } | { readonly jwksUrl: string };
  readonly operatorApiKey: string | null;
}

export interface Tokens {
  readonly accessToken: string;
  readonly tokenType: 'Bearer';
  /** Seconds. */
  readonly expiresIn: number;
  readonly refreshToken: string;
}

const ACCESS_SECONDS = 3_600;
const KNOWN_TOKENS = 20_000;
const SUBJECT = /^[\x21-\x7e]{1,128}$/;
const ANYONE: Actor = { subject: 'anyone', role: 'anyone' };

/** A claim as we would take it from a body; anything else is as if it were not there. */
const plainText = (claim: unknown, max: number): string | null => {
  if (typeof claim !== 'string' || !claim.isWellFormed() || /\p{Cc}/u.test(claim)) return null;
  return [...claim.trim()].slice(0, max).join('') || null;
};

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Tokens in and out. Tokens of a session are made from it alone, so a replayed log-in gives the same ones. */
export const createAuth = ({ issuer, audience, keys, operatorApiKey }: AuthConfig, customers: Shop['customers']) => {
  const secret = 'secret' in keys ? new TextEncoder().encode(keys.secret) : null;
  const jwks: JWTVerifyGetKey | null =
    'jwksUrl' in keys ? createRemoteJWKSet(new URL(keys.jwksUrl), { timeoutDuration: 2_000 }) : null;
  // One family each: a public key can never be taken for a shared secret.
  const algorithms = secret
    ? ['HS256']
    : ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];
  const apiKeyDigest = operatorApiKey === null ? null : sha256(operatorApiKey);
  const refreshAudience = `${audience}/refresh`;
  /** Tokens that were verified, oldest first: checking a signature costs more than the rest of a read. */
  const known = new Map<string, { readonly actor: Actor; readonly expiresAt: number }>();

  const verify = async (token: string, audience: string): Promise<JWTPayload> => {
    const options = { issuer, audience, algorithms, requiredClaims: ['exp', 'sub'] };
    try {
      const { payload } = await (secret ? jwtVerify(token, secret, options) : jwtVerify(token, jwks as JWTVerifyGetKey, options));
      return payload;
    } catch (error) {
      // Not the token's fault: the identity provider's keys cannot be had.
      const theirs = [errors.JWKSTimeout, errors.JWKSInvalid].some((kind) => error instanceof kind);
      const away = theirs || !(error instanceof errors.JOSEError) || error.code === 'ERR_JOSE_GENERIC';
      throw away
        ? new Unavailable('the identity provider is away', 'nothing_changed', error)
        : new HttpProblem('unauthenticated');
    }
  };

  const actorOf = async (token: string): Promise<Actor> => {
    const payload = await verify(token, audience);
    const { sub, role, exp } = payload;
    if (typeof sub !== 'string' || !SUBJECT.test(sub) || (role !== 'customer' && role !== 'operator'))
      throw new HttpProblem('unauthenticated');
    const actor: Actor = { subject: sub, role };
    // Tokens of our own sessions carry a session id under a name of our own (`sid` is others' too): their customer is on record. Others' customers are made on first use.
    if (role === 'customer' && payload.fc_sid === undefined) {
      const { email, name } = payload;
      await customers.admit({
        id: sub,
        email: plainText(email, 320),
        name: plainText(name, 50) ?? sub.slice(0, 50),
      });
    }
    if (known.size >= KNOWN_TOKENS) known.delete(known.keys().next().value as string);
    known.set(token, { actor, expiresAt: (exp as number) * 1_000 });
    return actor;
  };

  const sign = (session: Session, audience: string, claims: JWTPayload, expiresAt: number): Promise<string> =>
    new SignJWT({ ...claims, fc_sid: session.id })
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
      .setIssuer(issuer)
      .setAudience(audience)
      .setSubject(session.customerId)
      .setIssuedAt(Math.floor(session.issuedAt / 1_000))
      .setExpirationTime(Math.floor(expiresAt / 1_000))
      .sign(secret as Uint8Array);

  return {
    /** False when an outside identity provider registers customers and logs them in. */
    ownIdentity: secret !== null,
    /** Key for digests that must not tell what was digested. */
    secret: secret ?? Buffer.alloc(0),

    async tokensOf(session: Session): Promise<Tokens> {
      const [accessToken, refreshToken] = await Promise.all([
        sign(session, audience, { role: 'customer' }, session.issuedAt + ACCESS_SECONDS * 1_000),
        sign(session, refreshAudience, { generation: session.generation }, session.expiresAt),
      ]);
      return { accessToken, tokenType: 'Bearer', expiresIn: ACCESS_SECONDS, refreshToken };
    },

    /** What a refresh token stands for; one that does not verify is refused like one that has ended. */
    async sessionOf(refreshToken: string): Promise<{ sessionId: string; generation: number }> {
      const payload = await verify(refreshToken, refreshAudience).catch((error) =>
        error instanceof HttpProblem ? refuse({ code: 'session_ended' }) : Promise.reject(error),
      );
      return { sessionId: payload.fc_sid as string, generation: payload.generation as number };
    },

    /** Sets `request.actor`, or throws what says why not. Synchronous for a token that was seen before. */
    authenticate(request: FastifyRequest): Promise<void> | undefined {
      const rule = request.routeOptions.config.caller ?? 'anyone';
      const header = request.headers.authorization;
      request.actor = ANYONE;
      if (rule === 'stranger') return;
      if (header === undefined) {
        if (rule !== 'anyone') throw new HttpProblem('unauthenticated');
        return;
      }
      const token = /^Bearer ([\x21-\x7e]{1,4096})$/i.exec(header)?.[1];
      if (!token) throw new HttpProblem('unauthenticated');
      const admit = (actor: Actor) => {
        if (rule !== 'anyone' && !rule.split(' or ').includes(actor.role)) refuse({ code: 'forbidden' });
        request.actor = actor;
      };
      const cached = known.get(token);
      if (cached && cached.expiresAt > Date.now()) {
        admit(cached.actor);
        return;
      }
      if (apiKeyDigest && timingSafeEqual(sha256(token), apiKeyDigest)) {
        admit({ subject: 'operator', role: 'operator' });
        return;
      }
      return actorOf(token).then(admit);
    },
  };
};

export type Auth = ReturnType<typeof createAuth>;
