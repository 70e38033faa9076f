import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { newDirectory, type Service, startService } from '../support/service.ts';

const readme = join(import.meta.dirname, '../../README.md');
const OPERATOR_API_KEY = 'fc_operator_key-for-tests-0123456789';
/** Where the README says that the service is. */
const ADDRESS = /http:\/\/(localhost|127\.0\.0\.1):3000/g;

/** The commands of a text, each with the lines that it goes on over: after a backslash, or until its quotes close. */
const commandsIn = (script: string): string[] => {
  const commands: string[] = [];
  let command = '';
  for (const line of script.split('\n')) {
    command += command === '' ? line : `\n${line}`;
    // A single quote hides double ones, and the other way round.
    const open = command.replace(/\\[\s\S]/g, '').replace(/'[^']*'|"[^"]*"/g, '');
    if (line.endsWith('\\') || /['"]/.test(open)) continue;
    if (command.trim() !== '' && !command.trimStart().startsWith('#')) commands.push(command);
    command = '';
  }
  return commands;
};

/**
 * The ```sh blocks, each as its commands that ask the service. Not those that start or test something, nor those of a block that
 * is marked ```sh skip.
 */
const curlsIn = (markdown: string): string[][] =>
  [...markdown.matchAll(/^```sh\n([\s\S]*?)^```/gm)]
    .map(([, script]) =>
      commandsIn(script as string).filter((command) => /\bcurl\b/.test(command) && !/\bdocker\b/.test(command)),
    )
    .filter((commands) => commands.length > 0);

/** Runs them one after the other in one shell, as a reader would. Rejects at the first that fails or is answered with an error. */
const run = (commands: readonly string[], url: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const strict = 'set -eu; curl() { command curl --fail-with-body --show-error --max-time 10 "$@"; }';
    // An assignment from a pipe would hide that curl failed.
    const script = [strict, 'set -o pipefail', ...commands].join('\n').replaceAll(ADDRESS, url);
    execFile('bash', ['-c', script], { env: { PATH: process.env.PATH, OPERATOR_API_KEY } }, (error, stdout, stderr) =>
      error ? reject(new Error(`${stderr}${stdout}`)) : resolve(stdout),
    );
  });

describe.skipIf(!existsSync(readme))('README.md', () => {
  let service: Service;
  beforeAll(async () => {
    service = await startService({ DATA_DIR: await newDirectory(), OPERATOR_API_KEY });
  });

  test('every curl line works, from top to bottom in one shell', async () => {
    const blocks = curlsIn(readFileSync(readme, 'utf8'));
    expect(blocks.length).toBeGreaterThan(0);
    await run(blocks.flat(), service.url);
  });

  const sample = [
    'Start it:\n\n```sh\nnpm ci && npm start\ndocker compose up && curl http://127.0.0.1:3000\n```\n',
    '```sh\n# a comment that names curl\nNAME=$(curl -s http://127.0.0.1:3000/v1/products?limit=1 | cut -c 3-7)\n',
    'curl -s "http://localhost:3000/v1/products" \\\n  -H "x-name: $NAME"\n',
    "curl -s http://127.0.0.1:3000/v1/sessions -H 'content-type: application/json' -d '{\n  \"email\": 5\n}'\n```\n",
    '```ts\ncurl\n```\n```sh skip\ncurl http://example.com\n```\n',
  ].join('');
  test('this reads blocks as a shell does, and leaves out what starts or tests something', () => {
    expect(curlsIn(sample)).toEqual([
      [
        'NAME=$(curl -s http://127.0.0.1:3000/v1/products?limit=1 | cut -c 3-7)',
        'curl -s "http://localhost:3000/v1/products" \\\n  -H "x-name: $NAME"',
        `curl -s http://127.0.0.1:3000/v1/sessions -H 'content-type: application/json' -d '{\n  "email": 5\n}'`,
      ],
    ]);
  });
  test('this finds a line that is refused, one in an assignment, and a variable that is not set', async () => {
    const [name, listed, refused] = (curlsIn(sample)[0] ?? []) as [string, string, string];
    expect(await run([name, listed], service.url)).toContain('"items":[');
    await expect(run([name, listed, refused], service.url)).rejects.toThrow('validation_failed');
    await expect(run([`NAME=$(${refused} | cut -c 1-5)`], service.url)).rejects.toThrow('400');
    await expect(run([listed], service.url)).rejects.toThrow('NAME');
  });
});
