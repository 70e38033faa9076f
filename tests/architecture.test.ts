import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');
const bin = (name: string) => join(root, 'node_modules/.bin', name);

/** Exit code and output of a command. */
const run = (command: string, args: readonly string[], cwd = root): Promise<{ code: number; output: string }> =>
  new Promise((resolve) => {
    execFile(command, [...args], { cwd }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code ?? 1) : 0, output: stdout + stderr }),
    );
  });

const inTemporaryFolder = async <T>(use: (folder: string) => Promise<T>): Promise<T> => {
  const folder = mkdtempSync(join(tmpdir(), 'firstcome-canary-'));
  return use(folder).finally(() => rmSync(folder, { recursive: true }));
};

/** What the project's own lint rules say of a file that would stand at `path`. */
const lint = (path: string, code: string) =>
  inTemporaryFolder(async (folder) => {
    const rules = JSON.parse(readFileSync(join(root, 'biome.json'), 'utf8'));
    writeFileSync(join(folder, 'biome.json'), JSON.stringify({ ...rules, vcs: { enabled: false } }));
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    writeFileSync(join(folder, path), code);
    return run(bin('biome'), ['lint', '.'], folder);
  });

const sources = (folder: string): { path: string; code: string }[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => ({ path: `${folder}/${name}`, code: readFileSync(join(root, folder, name), 'utf8') }));

describe('imports stay in their rooms (biome.json)', () => {
  test.each([
    ['core/canary.ts', "import { z } from 'zod';\nexport const a = z;"],
    ['core/canary.ts', "import { readFileSync } from 'node:fs';\nexport const a = readFileSync;"],
    ['core/order/canary.ts', "import { memoryLock } from '../../adapters/memory/lock.ts';\nexport const a = memoryLock;"],
    ['core/order/canary.ts', "import { compose } from '../../app/compose.ts';\nexport const a = compose;"],
    ['core/canary.ts', 'export const a = () => Date.now();'],
    ['core/canary.ts', 'export const a = () => new Date();'],
    ['adapters/http/canary.ts', "import { postgresCarts } from '../postgres/carts.ts';\nexport const a = postgresCarts;"],
    ['adapters/http/canary.ts', "import { sql } from 'kysely';\nexport const a = sql;"],
    ['adapters/http/canary.ts', "import { compose } from '../../app/compose.ts';\nexport const a = compose;"],
    ['adapters/postgres/canary.ts', "import { Redis } from 'ioredis';\nexport const a = Redis;"],
    ['adapters/redis/canary.ts', "import pg from 'pg';\nexport const a = pg;"],
    ['adapters/memory/canary.ts', "import Fastify from 'fastify';\nexport const a = Fastify;"],
    ['adapters/system/canary.ts', "import { openShop } from '../../tests/support/shop.ts';\nexport const a = openShop;"],
    ['app/canary.ts', "import { sql } from 'kysely';\nexport const a = sql;"],
    ['app/canary.ts', "import { openShop } from '../tests/support/shop.ts';\nexport const a = openShop;"],
    ['core/canary.ts', 'export enum A { b }'],
    ['app/canary.ts', "console.log('x');"],
  ])('%s with a leak is refused: %s', async (path, code) => {
    const { code: exit, output } = await lint(path, code);
    expect(exit, output).not.toBe(0);
    expect(output).toMatch(/noRestrictedImports|noRestrictedGlobals|noEnum|noConsole/);
  });

  test('the same without a leak is accepted', async () => {
    const { code, output } = await lint(
      'core/order/canary.ts',
      "import { won } from '../shared/money.ts';\n\nexport const a = won(1);\n",
    );
    expect(code, output).toBe(0);
  });
});

test('core compiles without the types of Node and the DOM, and a leak does not', () =>
  inTemporaryFolder(async (folder) => {
    const leaks = ['process', 'console', 'setTimeout', 'fetch', 'Buffer', 'performance', 'crypto'];
    for (const [i, leak] of leaks.entries()) writeFileSync(join(folder, `leak-${i}.ts`), `export const a = ${leak};\n`);
    writeFileSync(join(folder, 'clean.ts'), 'export const a = 1;\n');
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    const compilerOptions = { rootDir: folder };
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({ extends: join(root, 'core/tsconfig.json'), compilerOptions, include: ['.'] }),
    );
    const { output } = await run(bin('tsc'), ['-p', folder, '--pretty', 'false'], folder);
    for (const [i, leak] of leaks.entries()) expect(output).toMatch(new RegExp(`leak-${i}.ts.*'${leak}'`));
    expect(output).not.toContain('clean.ts');
  }));

/** What a text must not contain, and where: rules that no linter of ours knows. */
const rules = [
  { name: 'Math.random never in core', pattern: /Math\.random/, folders: ['core'], except: [] },
  {
    name: 'process.env only in app/config.ts',
    pattern: /process\.env/,
    folders: ['core', 'adapters', 'app'],
    except: ['app/config.ts'],
  },
  {
    name: 'SQL only in adapters/postgres',
    pattern: /\b(select .+ from|insert into|update \w+ set|delete from)\b/i,
    folders: ['core', 'app', 'adapters/http', 'adapters/memory', 'adapters/redis', 'adapters/system'],
    except: [],
  },
  { name: 'a use case never awaits inside a decision', pattern: /async \(books/, folders: ['core'], except: [] },
  {
    name: 'adapters are constructed only in app/compose.ts',
    pattern: /\b(postgres[A-Z]\w+|redisLock|memoryLock|connectRe\w+|createServer)\(/,
    folders: ['app'],
    except: ['app/compose.ts'],
  },
];
const offences = (
  { pattern, except }: Pick<(typeof rules)[number], 'pattern' | 'except'>,
  files: readonly { path: string; code: string }[],
) =>
  files.filter(({ path, code }) => !(except as readonly string[]).includes(path) && pattern.test(code)).map(({ path }) => path);

describe('rules of the house in the sources', () => {
  test.each(rules)('$name', (rule) => {
    const files = rule.folders.flatMap(sources);
    expect(files.length).toBeGreaterThan(0);
    expect(offences(rule, files)).toEqual([]);
  });

  test.each([
    [0, 'core/a.ts', 'export const a = Math.random();'],
    [1, 'adapters/http/a.ts', 'export const a = process.env.PORT;'],
    [2, 'core/a.ts', "const a = 'select * from orders';"],
    [2, 'adapters/http/a.ts', "const a = 'DELETE FROM orders';"],
    [3, 'core/a.ts', 'transact(scope, async (books) => {})'],
    [4, 'app/main.ts', 'const lock = memoryLock();'],
  ])('rule %i sees a leak in %s', (rule, path, code) => {
    expect(offences(rules[rule] as (typeof rules)[number], [{ path, code }])).toEqual([path]);
  });
});
