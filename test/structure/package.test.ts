/** The package as it is published: built, and used from outside by `import` and by `require`, its threads and its command included. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const execute = promisify(execFile);
const node = async (...args: string[]) => (await execute(process.execPath, args, { cwd: root })).stdout.trim();

/** What a program outside of the repository says. */
async function program(name: string, text: string): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'anneal-package-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, name), text);
  return node(join(dir, name));
}
const at = (path: string) => JSON.stringify(join(root, path));

describe('the package', { timeout: 120_000 }, () => {
  beforeAll(() => node('scripts/build-dist.mjs'), 120_000);

  test('imported: trains, and loads on threads of its own', async () => {
    const said = await program(
      'user.mjs',
      `import { data, losses, nn, optim, Trainer } from ${at('dist/index.mjs')};
       const set = await data.parquet(${at('test/golden/tables/snappy.parquet')}, { columns: ['a', 'b'], label: 'kind' });
       const model = new nn.Linear(2, 3);
       const trainer = new Trainer({ model, loss: (x, { y }) => losses.crossEntropy(x, y), optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }) });
       const { steps } = await trainer.fit({ train: data.loader(set, { batchSize: 100, workers: 1 }), epochs: 2 });
       console.log(set.length, steps);`,
    );
    expect(said).toBe('300 6');
  });

  test('required: the same objects', async () => {
    const said = await program(
      'user.cjs',
      `const anneal = require(${at('dist/index.cjs')});
       import(${at('dist/index.mjs')}).then((m) => console.log(m.Tensor === anneal.Tensor, typeof anneal.tensor));`,
    );
    expect(said).toBe('true function');
  });

  test('its command', async () => {
    expect(await node('dist/anneal.cjs', '--help')).toMatch(/doctor[\s\S]*lr-find/);
    const dir = mkdtempSync(join(tmpdir(), 'anneal-package-'));
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
    writeFileSync(join(dir, 'metrics.jsonl'), '{"attempt":1,"step":1,"type":"step","loss":0.5}\n');
    expect(await node('dist/anneal.cjs', 'report', dir, '-o', '-')).toMatch(/uPlot[\s\S]*reportPage\.start\(\)[\s\S]*<\/html>$/);
  });
});
