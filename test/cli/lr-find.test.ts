import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { partsOf } from '../../lib/cli/lr-find.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(root, 'build', 'lr-find-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const library = pathToFileURL(join(root, 'lib/index.ts')).href;

const common = `
import { data, losses, manualSeed, nn, optim, Trainer } from ${JSON.stringify(library)};
manualSeed(1);
const x = Float32Array.from({ length: 512 }, (_, i) => Math.sin(i * 12.9898) * 2);
const y = Int32Array.from({ length: 256 }, (_, i) => +(x[2 * i]! * x[2 * i + 1]! > 0));
const set = new data.TensorDataset({ x: { data: x, shape: [2] }, y: { data: y } });
const model = new nn.Sequential(new nn.Linear(2, 16), new nn.ReLU(), new nn.Linear(16, 2));
const make = () => new Trainer({
  model,
  loss: (logits, { y }) => losses.crossEntropy(logits, y),
  optimizer: new optim.AdamW(model.parameters(), { lr: 1e-3 }),
});
const loader = data.loader(set, { batchSize: 32, shuffle: true, seed: 3, workers: 0 });
`;
const script = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, common + text);
  return path;
};
const lrFind = (...args: string[]) =>
  spawnSync(process.execPath, ['--import', 'tsx', 'lib/cli/main.ts', 'lr-find', ...args], {
    cwd: root,
    env: { ...process.env, ANNEAL_TEST_DEVICE: '' },
    encoding: 'utf8',
  });

describe('anneal lr-find', { timeout: 60_000 }, () => {
  test('a Trainer and its loader: plot, suggestions and the picture', () => {
    const svg = join(folder, 'curve.svg');
    const { stdout, stderr, status } = lrFind(
      script('a.ts', 'export default make(); export const train = loader;'),
      '--svg',
      svg,
    );
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toMatch(/┤[ ▁▂▃▄▅▆▇█]+\n/);
    expect(stdout).toMatch(/suggested learning rate: belowRise \d.*, valley .*, steepest /);
    const [, lr] = /use lr: (\S+);/.exec(stdout) ?? [];
    expect(Number(lr)).toBeGreaterThan(1e-4);
    expect(Number(lr)).toBeLessThan(1);
    expect(readFileSync(svg, 'utf8')).toMatch(/^<svg .*<polyline points="[\d., ]+".*<\/svg>$/);
  });

  test('a function that gives both; options reach the search; JSON', () => {
    const path = script('b.ts', 'export default async () => ({ trainer: make(), train: loader });');
    const { stdout, status } = lrFind(path, '--json', '--from', '1e-5', '--to', '1e-2', '--iterations', '30');
    expect(status).toBe(0);
    const { rates, losses, suggestion, suggestions } = JSON.parse(stdout);
    expect(rates.length).toBe(30);
    expect(losses.length).toBe(30);
    expect(rates[0]).toBeCloseTo(1e-5, 12);
    expect(rates.at(-1)).toBeCloseTo(1e-2, 9);
    expect(suggestion).toBe(suggestions.belowRise);
  });

  test.each([
    ['no script', join(folder, 'nothing.ts'), [], /^lr-find: there is no script .*nothing\.ts\n$/],
    [
      'a rate in words',
      script('e.ts', 'export default make(); export const train = loader;'),
      ['--from', 'low'],
      /^findLearningRate: from must be a rate above 0, got NaN/,
    ],
    ['a script that fails', script('g.ts', "throw new Error('mine');"), [], /Error: mine/],
  ] as const)('%s', (_, path, args, message) => {
    const { stderr, stdout, status } = lrFind(path, ...args);
    expect(stderr).toMatch(message);
    expect(stdout).toBe('');
    expect(status).toBe(1);
  });

  test.each([
    ['no Trainer', { default: 3 }, /^lr-find: the default export is no Trainer, but 3\. The script exports/],
    ['nothing', {}, /no Trainer, but undefined/],
    [
      'no loader',
      { default: { findLearningRate() {}, options: {} } },
      /^lr-find: there is no loader, but train is undefined\. The script/,
    ],
    ['a function that gives nothing', { default: () => undefined }, /no Trainer, but undefined/],
    [
      'CommonJS without a loader',
      { default: { default: { findLearningRate() {}, options: {} }, train: 4 } },
      /no loader, but train is 4/,
    ],
  ])('%s', async (_, exports, message) => {
    await expect(partsOf(exports as never)).rejects.toThrow(message);
  });
});
