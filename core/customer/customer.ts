import type { Instant } from '../shared/time.ts';

export interface Customer {
  readonly id: string;
  /** null when an outside identity provider keeps it. */
  readonly email: string | null;
  readonly name: string;
  readonly createdAt: Instant;
}

/** What a customer proves itself with. Keyed by e-mail address: one login an address. */
export interface Login {
  readonly email: string;
  readonly customerId: string;
  /** Memory-hard digest with its own parameters and salt; never the password. */
  readonly passwordHash: string;
}

/** A log-in that can be prolonged until it expires or ends. Its tokens are made from it, so no token is stored. */
export interface Session {
  readonly id: string;
  readonly customerId: string;
  /** Rises with each refresh: a refresh token of an older generation was used twice, or stolen. */
  readonly generation: number;
  readonly ended: boolean;
  readonly issuedAt: Instant;
  readonly expiresAt: Instant;
}

/** Addresses that differ only in case are one customer's. */
export const normalEmail = (email: string): string => email.trim().toLowerCase();
