import type { Ports } from '../ports.ts';
import type { Caller } from '../shared/actor.ts';
import { DomainError, refuse } from '../shared/refusal.ts';
import { normalEmail, type Session } from './customer.ts';

/** Logs in. Refuses with `invalid_credentials`, alike and after the same time for a wrong address and a wrong password. */
export const openSession =
  ({ transact, passwords, customers, newId, policy }: Pick<Ports, 'transact' | 'passwords' | 'customers' | 'newId' | 'policy'>) =>
  async ({ once }: Caller, input: { readonly email: string; readonly password: string }): Promise<Session> => {
    const login = await customers.login(normalEmail(input.email));
    const proven = await passwords.verify(input.password, login?.passwordHash ?? null);
    const session = await transact({ once }, (books) => {
      if (!login || !proven) return refuse({ code: 'invalid_credentials' });
      const session: Session = {
        id: newId(),
        customerId: login.customerId,
        generation: 1,
        ended: false,
        issuedAt: books.now,
        expiresAt: books.now + policy.sessionTtl,
      };
      books.create('sessions', session);
      return session;
    });
    // Whatever was answered under this key before: without the password there is no session.
    return proven ? session : refuse({ code: 'invalid_credentials' });
  };

interface Refreshed {
  readonly session: Session | null;
  readonly decidedFor?: string | undefined;
}

/**
 * Prolongs a log-in: each refresh token serves once. One of an older generation was used twice or stolen, so the whole
 * session ends. Refuses with `session_ended`.
 */
export const refreshSession =
  ({ transact, policy }: Pick<Ports, 'transact' | 'policy'>) =>
  async ({ once }: Caller, input: { readonly sessionId: string; readonly generation: number }): Promise<Session> => {
    // Ending a session is a change, so this refusal cannot be thrown inside; it keeps the request it was decided for instead.
    const no = { session: null, decidedFor: once?.requestId };
    const { session, decidedFor } = await transact({ sessions: [input.sessionId], once }, (books): Refreshed => {
      const known = books.get('sessions', input.sessionId);
      if (!known || known.ended || known.expiresAt <= books.now) return no;
      const reused = known.generation !== input.generation;
      const next: Session = reused
        ? { ...known, ended: true }
        : { ...known, generation: known.generation + 1, issuedAt: books.now, expiresAt: books.now + policy.sessionTtl };
      books.put('sessions', next);
      return reused ? no : { session: next };
    });
    if (!session) throw new DomainError({ code: 'session_ended' }, decidedFor);
    return session;
  };

/** Logs out: the session's refresh token serves no longer. Ending an ended session changes nothing. */
export const endSession =
  ({ transact }: Pick<Ports, 'transact'>) =>
  async ({ once }: Caller, input: { readonly sessionId: string }): Promise<void> =>
    transact({ sessions: [input.sessionId], once }, (books) => {
      const session = books.get('sessions', input.sessionId);
      if (session && !session.ended) books.put('sessions', { ...session, ended: true });
    });
