import { onTestFinished } from 'vitest';
import { type OwnServer, startRedis } from './servers.ts';

const probe = await startRedis();
await probe?.stop();

/** Whether a redis-server can be started here: for tests that kill, stop or flush one. */
export const canStartRedis = probe !== null;

export const signal = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name);
  } catch {
    // It is dead already.
  }
};

/** A server of the test's own, ended with it, stopped or dead as it may be. */
export const startOwnRedis = async (options: { port?: number } = {}): Promise<OwnServer> => {
  const server = await startRedis(options);
  if (!server) throw new Error('it could be started a moment ago');
  onTestFinished(async () => {
    signal(server.pid, 'SIGCONT');
    await server.stop();
  });
  return server;
};
