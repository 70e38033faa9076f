/** A moment: whole milliseconds since 1970-01-01T00:00:00Z. RFC 3339 only on the wire. */
export type Instant = number;

/** A calendar day of the shop's own time zone, `YYYY-MM-DD`. */
export type Day = string;

export const minutes = (count: number): number => count * 60_000;
export const hours = (count: number): number => count * 3_600_000;
