/** What a run writes of each step without being asked. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { data, type Hook, losses, monitor, optim, Stepper, schedule, type Tensor, Trainer } from '../../lib/index.ts';
import { gitCommit, plain, withoutSecrets } from '../../lib/train/run-facts.ts';
import { clusters, mlp, temporary } from './helpers.ts';

const set = clusters(96);
const start = (dir: string, options: object) => {
  const model = mlp([8, 3]);
  return new Trainer({
    ...{ model, dir, loss: (o: never, b: { y: never }) => losses.crossEntropy(o, b.y) },
    optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }),
    ...options,
  } as never);
};
const records = async (dir: string) => (await monitor.readHistory(join(dir, 'metrics.jsonl'))).records;

test('norms before and after the clip, planned and applied rate, memory, and what the run is', async () => {
  const dir = temporary();
  const halve: Hook = { name: 'halve', onStep: ({ step }) => (step === 2 ? { lrScale: 0.5 } : undefined) };
  const rule = schedule.linear({ from: 1, to: 0 }).over(12);
  const t = start(dir, { clipNorm: 0.5, schedule: rule, hooks: [halve] });
  await t.fit({ train: data.loader(set, { batchSize: 32 }), epochs: 2 });
  await t.fit({ train: data.loader(set, { batchSize: 32 }), epochs: 4, resume: 'auto' });
  const all = await records(dir);
  const run = { type: 'run', model: 'Sequential', optimizer: 'SGD', precision: 'f32', parameters: 27 };
  const facts = { ...run, trainSamples: 96, parametersPerSample: 27 / 96, clipNorm: 0.5 };
  expect(all.filter((r) => r.type === 'run')).toMatchObject([
    { attempt: 1, step: 0, totalSteps: 6, ...facts },
    { attempt: 2, step: 6, totalSteps: 12, ...facts },
  ]);
  expect(all.filter((r) => r.type === 'end')).toMatchObject([
    { attempt: 1, step: 6, stopReason: 'finished' },
    { attempt: 2, step: 12, stopReason: 'finished' },
  ]);
  const steps = all.filter((r) => r.type === 'step');
  expect(steps).toHaveLength(12);
  for (const r of steps) {
    const [norm, clipped, lr] = [r.gradNorm, r.clippedGradNorm, r.lr] as number[] as [number, number, number];
    expect(clipped).toBeCloseTo(Math.min(norm, 0.5), 4);
    expect(r.plannedLr).toBeCloseTo(0.1 * rule.factor(r.step - 1), 12);
    // The step after the one that the hook saw may be queued already.
    if (r.step !== 3 && r.step !== 4) expect(lr).toBeCloseTo((r.plannedLr as number) * (r.step > 4 ? 0.5 : 1), 12);
    expect(r.epoch).toBe(Math.floor((r.step - 1) / 3));
    expect(r.memory).toBeGreaterThan(0);
    expect(r.peakMemory).toBeGreaterThanOrEqual(r.memory as number);
  }
  expect(steps.some((r) => (r.gradNorm as number) > 0.5)).toBe(true);
});

test('a skipped step is there, with its reason, its samples and the rate that was planned for it', async () => {
  const dir = temporary();
  const x = new Float32Array(64 * 8).fill(0.1);
  x[40 * 8] = Number.POSITIVE_INFINITY;
  const broken = new data.TensorDataset({ x: { data: x, shape: [8] }, y: { data: new Int32Array(64) } });
  const rule = schedule.linear({ from: 1, to: 0 }).over(4);
  await start(dir, { schedule: rule }).fit({ train: data.loader(broken, { batchSize: 16 }), epochs: 1 });
  const steps = (await records(dir)).filter((r) => r.type === 'step');
  expect(steps.map((r) => r.reason)).toEqual([undefined, undefined, 'nonFiniteGradient', undefined]);
  expect(steps[2]?.sampleIds).toEqual(Array.from({ length: 16 }, (_, i) => 32 + i));
  expect(steps.map((r) => r.plannedLr)).toEqual([0, 1, 2, 2].map((t) => 0.1 * rule.factor(t)));
});

test('how far updates moved the weights: the norm of their change over their norm, at steps 1, 2, 4, ... and every 50th', async () => {
  const model = mlp([8, 5, 3]);
  const optimizer = new optim.AdamW(model.parameters(), { lr: 0.01 });
  const step = new Stepper({ model, optimizer, updateRatioEvery: 3, clipNorm: 0.1 });
  const windows = data.loader(set, { batchSize: 16 }).windows({ steps: 7 });
  const flat = async () => (await Promise.all(model.parameters().map((p) => p.data()))).flatMap((d) => [...d]);
  const norm = (v: readonly number[]) => Math.sqrt(v.reduce((s, x) => s + x * x, 0));
  const told: (number | undefined)[] = [];
  for await (const window of windows) {
    const before = await flat();
    const { updateRatio } = await step.step(window, (b) => losses.crossEntropy(model.forward(b.x), b.y as Tensor));
    const after = await flat();
    told.push(updateRatio);
    const moved = norm(after.map((v, i) => v - (before[i] as number))) / norm(before);
    if (updateRatio !== undefined) expect(updateRatio / moved).toBeCloseTo(1, 5);
  }
  expect(told.map((r) => r !== undefined)).toEqual([true, true, true, false, false, true, false]);
});

test('configuration and environment: plain, bounded, without secrets', async () => {
  const dir = temporary();
  const t = start(dir, { clipNorm: 1, schedule: schedule.cosine({ to: 0 }), seed: 3, metrics: ['accuracy'] });
  await t.fit({ train: data.loader(set, { batchSize: 32, seed: 9 }), epochs: 1, accumulate: 3 });
  const run = (await records(dir)).find((r) => r.type === 'run') as object;
  const { configuration, environment } = run as unknown as {
    configuration: Record<string, never>;
    environment: Record<string, never>;
  };
  expect(configuration).toMatchObject({
    loss: expect.stringMatching(/^\(o, b\) => .*losses\.crossEntropy\(o, b\.y\)$/),
    optimizer: { kind: 'SGD', groups: [{ lr: 0.1, momentum: 0, tensors: 2, parameters: 27 }] },
    schedule: 'cosine(from 1, to 0)',
    ...{ clipNorm: 1, seed: 3, metrics: ['accuracy'], epochs: 1, accumulate: 3 },
    train: { samples: 96, batches: 3, batchSize: 32, seed: 9 },
  });
  expect(configuration.model).toContain('Linear');
  expect(environment).toMatchObject({ node: process.version, anneal: '0.1.0', device: expect.any(String), pid: process.pid });
  expect(environment.commit ?? '0'.repeat(40)).toMatch(/^[0-9a-f]{40}$/);
  const long = plain({
    deep: { deep: { deep: { deep: { deep: 1 } } } },
    text: 'x'.repeat(1e6),
    list: new Array(1e5).fill(0),
    big: 1n,
  });
  expect(JSON.stringify(long).length).toBeLessThan(1500);
  expect(plain({ n: null, f: new Float32Array(3), m: new Map(), u: undefined })).toEqual({
    n: null,
    f: 'Float32Array of 12 bytes',
    m: 'Map',
  });
  const args = ['train.ts', '--api-key=abc', '--token', 'abc', '--lr', '0.1', '--password'];
  expect(withoutSecrets(args)).toEqual(['train.ts', '--api-key=***', '--token', '***', '--lr', '0.1', '--password']);
});

test('the commit is read from git’s own files: detached, on a branch, packed, in a worktree', () => {
  const dir = temporary();
  const hash = 'a'.repeat(39) + 1;
  const put = (path: string, text: string) => {
    mkdirSync(join(dir, path, '..'), { recursive: true });
    writeFileSync(join(dir, path), text);
  };
  put('sub/x', '');
  expect(gitCommit(join(dir, 'sub'))).toBe(gitCommit(join(dir, '..')));
  put('.git/HEAD', `${hash}\n`);
  expect(gitCommit(join(dir, 'sub'))).toBe(hash);
  put('.git/HEAD', 'ref: refs/heads/main\n');
  expect(gitCommit(dir)).toBeUndefined();
  put('.git/packed-refs', `# pack-refs\n${'b'.repeat(40)} refs/heads/main\n`);
  expect(gitCommit(dir)).toBe('b'.repeat(40));
  put('.git/refs/heads/main', `${hash}\n`);
  expect(gitCommit(dir)).toBe(hash);
  put('tree/.git', `gitdir: ${join(dir, '.git/worktrees/tree')}\n`);
  put('.git/worktrees/tree/HEAD', 'ref: refs/heads/main\n');
  put('.git/worktrees/tree/commondir', '../..\n');
  expect(gitCommit(join(dir, 'tree'))).toBe(hash);
});

test('a run that fails says so, and why', async () => {
  const dir = temporary();
  const t = start(dir, { hooks: [{ name: 'broken', onStep: () => Promise.reject(new Error('the hook <b>broke</b>')) }] });
  await expect(t.fit({ train: data.loader(set, { batchSize: 32 }), epochs: 1 })).rejects.toThrow('broke');
  expect((await records(dir)).at(-1)).toMatchObject({
    type: 'end',
    stopReason: 'failed',
    error: expect.stringContaining('<b>broke</b>'),
  });
});
