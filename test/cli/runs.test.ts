/** `anneal report` and `anneal runs`, as they are typed. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { formatRecord } from '../../lib/monitor/index.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'anneal-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const anneal = (...args: string[]) =>
  new Promise<{ code: number; out: string; err: string }>((resolve) => {
    const child = execFile(
      process.execPath,
      ['--import', 'tsx', join(root, 'lib/cli/main.ts'), ...args],
      { cwd: root, maxBuffer: 2 ** 26 },
      (_, out, err) => resolve({ code: child.exitCode ?? -1, out, err }),
    );
  });
for (const [name, lr] of [
  ['one\u001b[31m', 0.1],
  ['two', 0.2],
] as const) {
  mkdirSync(join(folder, name), { recursive: true });
  const records = [
    { type: 'run', step: 0, time: 1_700_000_000_000, totalSteps: 4, configuration: { optimizer: { lr } } },
    ...[1, 2, 3, 4].map((step) => ({ type: 'step', step, loss: step === 3 ? Number.NaN : lr / step })),
    { type: 'eval', step: 4, 'val/loss': lr, 'val/accuracy': 1 - lr },
    ...(name === 'two' ? [{ type: 'end', step: 4, stopReason: 'finished' }] : []),
  ];
  writeFileSync(
    join(folder, name, 'metrics.jsonl'),
    records.map((r) => `${formatRecord({ attempt: 1, ...r } as never)}\n`).join(''),
  );
}
const [one, two] = [join(folder, 'one\u001b[31m'), join(folder, 'two')];

test('runs: a line each, figures and state, and no control characters of others', async () => {
  const { code, out } = await anneal('runs', folder);
  expect(code).toBe(0);
  expect(out).not.toContain('\u001b');
  expect(
    out
      .split('\n')
      .slice(0, 4)
      .map((l) => l.trim().split(/ {2,}/)),
  ).toEqual([
    ['run', 'state', 'started (UTC)', 'steps', 'loss', 'val/loss', 'val/accuracy', 'loss over steps'],
    [expect.stringMatching(/^-+$/)],
    ['one [31m', 'killed', '2023-11-14 22:13', '4/4', '0.02500', '0.1000', '0.9000', '█▃×▁'],
    ['two', 'finished', '2023-11-14 22:13', '4/4', '0.05000', '0.2000', '0.8000', '█▃×▁'],
  ]);
});

test('runs --json and --compare', async () => {
  const [list, compared, json, wrong, none] = await Promise.all([
    anneal('runs', folder, '--json'),
    anneal('runs', '--compare', one, two),
    anneal('runs', '--json', '--compare', one, two),
    anneal('runs', '--compare', one),
    anneal('runs', join(folder, 'none')),
  ]);
  expect(JSON.parse(list.out)).toMatchObject([
    { state: 'killed', steps: 4 },
    { name: 'two', figures: [{ name: 'loss', last: 0.05 }, {}, {}] },
  ]);
  expect(compared.out).toMatch(/^optimizer\.lr +0\.1 +0\.2$/m);
  expect(compared.out).toMatch(/^best val\/accuracy +0\.9000 @ 4 +0\.8000 @ 4$/m);
  expect(JSON.parse(json.out).differences).toEqual([{ name: 'optimizer.lr', a: '0.1', b: '0.2' }]);
  expect([wrong.code, wrong.err]).toEqual([1, expect.stringContaining('--compare takes two runs, got 1')]);
  expect([none.code, none.err]).toEqual([1, expect.stringContaining('Give the folder that holds runs')]);
});

test('report: into the run’s folder, into a file, to the terminal', async () => {
  const [own, elsewhere, terminal, none] = await Promise.all([
    anneal('report', two),
    anneal('report', one, '-o', join(folder, 'page.html')),
    anneal('report', join(two, 'metrics.jsonl'), '-o', '-'),
    anneal('report', join(folder, 'none')),
  ]);
  expect(own.out.trim()).toMatch(/^file:\/\/.*\/two\/report\.html$/);
  expect(readFileSync(join(two, 'report.html'), 'utf8')).toContain('<h1>two</h1>');
  expect(readFileSync(join(two, 'report.html'), 'utf8')).toMatch(/id="findings">Findings<\/h2>[\s\S]*from step 3/); // its NaN
  expect(elsewhere.out.trim()).toMatch(/page\.html$/);
  expect(existsSync(join(folder, 'page.html'))).toBe(true);
  expect(terminal.out).toMatch(/^<!doctype html>[\s\S]*<\/html>\n$/);
  expect([none.code, none.err]).toEqual([1, expect.stringMatching(/none: there is no such run\. Give a run's folder/)]);
});
