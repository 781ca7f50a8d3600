/** Findings on runs whose illness is known (really trained, see generate.ts), on damaged histories, and while a run goes on. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AnnealError, data, type Hook, losses, monitor, nn, optim, Trainer } from '../../../lib/index.ts';
import { clusters, mlp, temporary } from '../../train/helpers.ts';
import { judge, recorded } from './judge.ts';
import { train } from './runs.ts';
import { heldOut } from './specs.ts';

type Record = monitor.HistoryRecord;
const rulesOf = (records: readonly Record[]) => monitor.diagnose(records).map((f) => f.rule);

describe('generated runs', () => {
  test('held out: precision at least 0.9, recall at least 0.8', () => {
    const { precision, recall, faults } = judge(heldOut, recorded('held'));
    expect.soft(precision, faults.join('\n')).toBeGreaterThanOrEqual(0.9);
    expect(recall, faults.join('\n')).toBeGreaterThanOrEqual(0.8);
  });

  test('the records kept are those that the runs give: one healthy, one ill run trained again', async () => {
    for (const id of ['held-healthy-7', 'held-dead-units-1']) {
      const spec = heldOut.find((s) => s.id === id) as (typeof heldOut)[number];
      const records = await train(spec);
      expect(rulesOf(records)).toEqual(expect.arrayContaining([...spec.ills]));
      if (spec.ills.length === 0) expect(rulesOf(records)).toEqual([]);
    }
  });
});

describe('damaged, cut and foreign histories', () => {
  const runs = recorded('held');
  const values = [Number.NaN, Infinity, -Infinity, -1, 0, 1e308, 'x', null, true, [], {}, [null], { a: 1 }, undefined];

  test('any prefix of any run is judged without an error', () => {
    for (const records of runs.values())
      for (const part of [0, 1, 2, 7, 20, 45, 101]) expect(monitor.diagnose(records.slice(0, part))).toBeInstanceOf(Array);
  });
  test('any value in any field is passed over', () => {
    let seed = 1;
    const random = (n: number) => {
      seed = (seed * 48271) % 2147483647;
      return seed % n;
    };
    for (const records of runs.values()) {
      const spoiled = records.map((r) => {
        if (random(3)) return r;
        const names = Object.keys(r).filter((k) => !['attempt', 'step', 'type'].includes(k));
        const name = names[random(names.length)] ?? 'loss';
        return { ...r, [name]: values[random(values.length)] } as Record;
      });
      for (const f of monitor.diagnose(spoiled)) {
        expect(f.evidence).not.toMatch(/undefined/);
        expect(Object.values(f.figures).every((v) => typeof v === 'number')).toBe(true);
      }
    }
  });
  test('nothing, or no records of steps: nothing is found; no array: a typed error', () => {
    expect(monitor.diagnose([])).toEqual([]);
    expect(monitor.diagnose([{ attempt: 1, step: 3, type: 'strange', loss: Number.NaN }])).toEqual([]);
    expect(() => monitor.diagnose({} as never)).toThrow(AnnealError);
  });
  test('a tail that was done again does not count', () => {
    const step = (attempt: number, n: number, loss: number): Record => ({
      ...{ attempt, step: n, type: 'step', loss, gradNorm: 1, lr: 0.1, plannedLr: 0.1, applied: true },
    });
    const lost = [...Array(60).keys()].map((i) => step(1, i + 1, i < 50 ? 1 / (i + 1) : Number.NaN));
    const again = [...Array(50).keys()].map((i) => step(2, i + 51, 0.02));
    expect(rulesOf(lost)).toContain('non-finite');
    expect(rulesOf([...lost, ...again])).toEqual([]);
  });
  test('findings stand by severity, have a place in the docs, and no rule speaks twice', () => {
    const rank = { error: 0, warning: 1, info: 2 };
    for (const records of runs.values()) {
      const found = monitor.diagnose(records);
      expect(new Set(found.map((f) => f.rule)).size).toBe(found.length);
      expect(found.map((f) => rank[f.severity])).toEqual(found.map((f) => rank[f.severity]).sort());
      for (const f of found) expect(f.docs).toBe(`docs/diagnosis.md#${f.rule}`);
    }
  });
});

describe('while a run goes on', () => {
  const set = clusters(96);
  const start = (dir: string, options: object, optimizer?: optim.Optimizer) => {
    const model = mlp([8, 3]);
    return new Trainer({
      ...{ model, dir, loss: (o: never, b: { y: never }) => losses.crossEntropy(o, b.y) },
      optimizer: optimizer ?? new optim.SGD(model.parameters(), { lr: 0.1 }),
      ...options,
    } as never);
  };
  const findings = async (dir: string) =>
    (await monitor.readHistory(join(dir, 'metrics.jsonl'))).records.filter((r) => r.type === 'finding');

  test('a finding is an event once, a line of the history, and a line for people; the next attempt does not repeat it', async () => {
    const dir = temporary();
    const lines: string[] = [];
    const halve: Hook = { name: 'halve', onStep: ({ step }) => (step === 2 ? { lrScale: 0.5 } : undefined) };
    const options = { hooks: [halve], progress: { write: (line: string) => lines.push(line) } };
    const run = start(dir, options).start({ train: data.loader(set, { batchSize: 4 }), epochs: 10 });
    const heard: monitor.Finding[] = [];
    for await (const e of run) if (e.type === 'finding') heard.push(e.finding);
    expect(heard.map((f) => f.rule)).toEqual(['rate-off-plan']);
    expect(heard[0]?.figures).toMatchObject({ times: 0.5 });
    expect(lines.join('')).toMatch(/warning: The learning rate is not the planned one/);
    const told = await findings(dir);
    expect(told.map((r) => [r.rule, r.final ?? false])).toEqual([
      ['rate-off-plan', false],
      ['rate-off-plan', true],
    ]);
    expect(told[1]?.evidence).toMatch(/of 240 steps/);
    const again = start(dir, options).start({ train: data.loader(set, { batchSize: 4 }), epochs: 20, resume: 'auto' });
    for await (const e of again) expect(e.type).not.toBe('finding');
    expect((await findings(dir)).map((r) => r.attempt)).toEqual([1, 1, 2]);
  });

  test('a spike is recorded with its samples; other steps are without', async () => {
    const dir = temporary();
    const x = Float32Array.from({ length: 160 * 4 }, (_, i) => Math.sin(i));
    for (let k = 0; k < 4; k++) x[130 * 4 + k] = 300;
    const y = Float32Array.from({ length: 160 }, (_, i) => Math.sin(4 * i));
    const damaged = new data.TensorDataset({ x: { data: x, shape: [4] }, y: { data: y, shape: [1] } });
    const model = new nn.Linear(4, 1);
    const trainer = new Trainer({
      ...{ model, dir, clipNorm: 0.1, loss: (o, b) => losses.mse(o, b.y) },
      optimizer: new optim.SGD(model.parameters(), { lr: 0.01 }),
    });
    await trainer.fit({ train: data.loader(damaged, { batchSize: 4 }), epochs: 1 });
    const { records } = await monitor.readHistory(join(dir, 'metrics.jsonl'));
    const marked = records.filter((r) => r.type === 'step' && r.sampleIds);
    expect(marked.map((r) => [r.step, r.spike, r.sampleIds])).toEqual([[33, ['loss', 'gradNorm'], [128, 129, 130, 131]]]);
    const [finding] = monitor.diagnose(records);
    expect(finding).toMatchObject({ rule: 'spikes', since: 33, sampleIds: [128, 129, 130, 131] });
  });

  test('detectAnomaly ends the run, and its history names the op and the layer', async () => {
    const dir = temporary();
    const model = new nn.Sequential(new nn.Linear(8, 3));
    nn.assign(model.parameters()[0] as nn.Parameter, model.parameters()[0]?.detach().mul(Number.POSITIVE_INFINITY) as never);
    const trainer = start(dir, { model, detectAnomaly: true }, new optim.SGD(model.parameters(), { lr: 0.1 }));
    await expect(trainer.fit({ train: data.loader(set, { batchSize: 32 }), epochs: 1 })).rejects.toThrow(AnnealError);
    const { records } = await monitor.readHistory(join(dir, 'metrics.jsonl'));
    const [finding] = monitor.diagnose(records);
    expect(finding).toMatchObject({ rule: 'non-finite', severity: 'error' });
    expect(finding?.evidence).toMatch(/the first op that made one was/);
  });

  test('diagnose: false is silent', async () => {
    const dir = temporary();
    const halve: Hook = { name: 'halve', onStep: () => ({ lrScale: 0.5 }) };
    await start(dir, { hooks: [halve], diagnose: false }).fit({ train: data.loader(set, { batchSize: 4 }), epochs: 6 });
    expect(await findings(dir)).toEqual([]);
  });
});
