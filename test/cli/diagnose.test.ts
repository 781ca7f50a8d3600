import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { temporary } from '../train/helpers.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const anneal = (...args: string[]) =>
  spawnSync(process.execPath, ['--import', 'tsx', 'lib/cli/main.ts', 'diagnose', ...args], { cwd: root, encoding: 'utf8' });

test('tells what is wrong with a run, for people and programs, and of a folder that is none', () => {
  const dir = join(temporary(), 'run');
  mkdirSync(dir);
  const steps = [...Array(60).keys()].map((i) => ({
    ...{ attempt: 1, step: i + 1, type: 'step', loss: i < 40 ? 1 / (i + 1) : 'NaN', gradNorm: i < 40 ? 1 : 'NaN', lr: 0.1 },
    ...{ plannedLr: 0.1, applied: i < 40, sampleIds: [i, i + 1] },
  }));
  const anomaly = {
    attempt: 1,
    step: 41,
    type: 'anomaly',
    op: 'log',
    module: '\u001b[31mhead (Linear)',
    at: 'at loss (train.ts:3:1)',
  };
  const path = join(dir, 'metrics.jsonl');
  writeFileSync(path, `${[...steps, anomaly].map((r) => JSON.stringify(r)).join('\n')}\n{"attempt":1,"st`);
  const told = anneal(dir);
  expect(told.status).toBe(1);
  expect(told.stdout).toMatch(/60 steps, 1 lines could not be read/);
  expect(told.stdout).toMatch(/error +NaN or infinity, from step 41/);
  expect(told.stdout).toMatch(/the first op that made one was log in module .*head \(Linear\) \(at loss \(train.ts:3:1\)\)/);
  expect(told.stdout).toMatch(/samples 40, 41/);
  expect(told.stdout).not.toContain('\u001b');
  const { findings, damaged } = JSON.parse(anneal(path, '--json').stdout);
  expect(findings[0]).toMatchObject({ rule: 'non-finite', severity: 'error', since: 41, sampleIds: [40, 41] });
  expect(damaged).toBe(1);
  writeFileSync(
    path,
    steps
      .slice(0, 30)
      .map((r) => JSON.stringify(r))
      .join('\n'),
  );
  const healthy = anneal(dir);
  expect([healthy.status, healthy.stdout]).toEqual([0, expect.stringMatching(/Nothing is wrong/)]);
  const none = anneal(join(dir, 'none'));
  expect([none.status, none.stderr]).toEqual([1, expect.stringMatching(/there is no .*none/)]);
}, 60_000);
