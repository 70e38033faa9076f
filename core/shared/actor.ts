import { refuse } from './refusal.ts';

/** Who asks. For a customer `subject` is the customer id, and it always comes from the token, never from path or body. */
export interface Actor {
  readonly subject: string;
  readonly role: 'anyone' | 'customer' | 'operator';
}

/** An idempotency key: one command, one effect and one answer within its life, however often it is sent. */
export interface Once {
  readonly subject: string;
  /** What is done, e.g. `POST /v1/orders`: the same key for another operation is another key. */
  readonly operation: string;
  readonly key: string;
  /** Digest of all that was asked. The same key with another fingerprint is refused: `idempotency_key_reused`. */
  readonly fingerprint: string;
  /** The request that first brought the key; a replayed refusal names it, so that the replay is the same to the byte. */
  readonly requestId: string;
}

/** First argument of every command: who asks, and under which idempotency key. */
export interface Caller {
  readonly actor: Actor;
  readonly once?: Once | undefined;
}

/** The id of the customer who asks; refuses everybody else. */
export const customerOf = (actor: Actor): string => (actor.role === 'customer' ? actor.subject : refuse({ code: 'forbidden' }));

export const mustBeOperator = (actor: Actor): void => {
  if (actor.role !== 'operator') refuse({ code: 'forbidden' });
};
