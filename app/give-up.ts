/** One sentence on stderr, then out: what stops a start is for people to read. */
export const giveUp = (error: unknown): never => {
  process.stderr.write(`firstcome cannot start: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
};
