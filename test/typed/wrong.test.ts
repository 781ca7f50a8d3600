/** Programs whose shapes do not fit are refused by the compiler: at the argument that does not fit, in words that name the sizes. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = 'test/typed/wrong';

interface Mark {
  readonly file: string;
  readonly line: number;
  readonly name: string;
  readonly says: string;
}

/** The marked lines, each with the name of its program. */
function marksOf(file: string): Mark[] {
  let name = '';
  return readFileSync(`${root}/${folder}/${file}`, 'utf8')
    .split('\n')
    .flatMap((text, i) => {
      name = /^program\((['"])(.*)\1,/.exec(text)?.[2] ?? name;
      const says = /\/\/ red: (.*)$/.exec(text)?.[1];
      return says === undefined ? [] : [{ file, line: i + 1, name, says }];
    });
}

const files = readdirSync(`${root}/${folder}`).filter((f) => f.endsWith('.ts'));
const marks = files.flatMap(marksOf);

describe('programs that must not compile', () => {
  /** What the compiler says, by file and line. */
  const said = new Map<string, string>();

  beforeAll(() => {
    const { stdout } = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', folder, '--pretty', 'false'], {
      cwd: root,
      encoding: 'utf8',
    });
    let at = '';
    for (const text of stdout.split('\n')) {
      const found = /^(.*?)\((\d+),\d+\): error/.exec(text);
      if (found) at = `${found[1]?.replace(`${folder}/`, '')}:${found[2]}`;
      if (at) said.set(at, `${said.get(at) ?? ''}${text}\n`);
    }
  });

  test('are thirty or more', () => {
    expect(marks.length).toBeGreaterThanOrEqual(30);
  });

  test.for(marks)('$name', ({ file, line, says }) => {
    expect(said.get(`${file}:${line}`) ?? 'no error').toContain(says);
  });

  test('have no error but on the marked lines', () => {
    const marked = new Set(marks.map(({ file, line }) => `${file}:${line}`));
    expect([...said].filter(([at]) => !marked.has(at)).map(([, text]) => text)).toEqual([]);
  });
});
