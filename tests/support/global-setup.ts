import type { TestProject } from 'vitest/node';
import { startServers } from './servers.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** An empty database; a test file makes its own beside it with `freshDatabase`. */
    databaseUrl: string;
    /** null: there is no Redis, its suites skip. */
    redisUrl: string | null;
  }
}

/** Starts the servers once per run; what it returns ends them. */
export default async (project: TestProject): Promise<() => Promise<void>> => {
  const { databaseUrl, redisUrl, stop } = await startServers();
  project.provide('databaseUrl', databaseUrl);
  project.provide('redisUrl', redisUrl);
  return stop;
};
