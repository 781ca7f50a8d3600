/** Runs read back: their state, figures and differences; a log cut anywhere; reports of what is left. */
import { spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { monitor } from '../../lib/index.ts';
import { curvesOf, stepsKept } from '../../lib/monitor/report/curves.ts';
import { differences, figuresOf, flat } from '../../lib/monitor/runs/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'anneal-runs-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const line = (attempt: number, step: number, type: string, more: object = {}) =>
  monitor.formatRecord({ attempt, step, type, ...more } as never);
function written(name: string, lines: readonly string[]): string {
  const dir = join(folder, name);
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'metrics.jsonl'), lines.map((l) => `${l}\n`).join(''));
  return dir;
}
const run = (pid: number, time = Date.now(), host = hostname()) =>
  line(1, 0, 'run', { time, totalSteps: 9, environment: { pid, host } });
const steps = (n: number) =>
  Array.from({ length: n }, (_, i) => line(1, i + 1, 'step', { loss: 1 / (i + 1), lr: 0.1, applied: true }));

describe('the state of a run', () => {
  test.each(['finished', 'epochs', 'aborted', 'stopped', 'failed'])('that said it ended: %s', async (stopReason) => {
    const dir = written(`ended-${stopReason}`, [
      run(process.pid),
      ...steps(3),
      line(1, 3, 'end', { stopReason, ...(stopReason === 'failed' ? { error: 'why' } : {}) }),
    ]);
    const { state, reason, steps: done, totalSteps } = await monitor.readRun(dir);
    expect([state, reason]).toEqual([
      { aborted: 'stopped', stopped: 'stopped', failed: 'failed' }[stopReason] ?? 'finished',
      stopReason === 'failed' ? 'why' : stopReason,
    ]);
    expect([done, totalSteps]).toEqual([3, 9]);
  });
  test('that goes on: its process lives, here, and is as old as the run', async () => {
    const state = async (name: string, first: string) => (await monitor.readRun(written(name, [first, ...steps(2)]))).state;
    expect(await state('alive', run(process.pid))).toBe('running');
    expect(await state('elsewhere', run(process.pid, Date.now(), 'another host'))).toBe('killed');
    const child = spawn(process.execPath, ['-e', '']);
    await new Promise((r) => child.on('exit', r));
    expect(await state('gone', run(child.pid as number))).toBe('killed');
    expect(await state('old', line(1, 0, 'run'))).toBe('killed');
    if (process.platform === 'linux') expect(await state('another process', run(process.pid, Date.now() - 1e9))).toBe('killed');
  });
  test('an end before a resume is not the end', async () => {
    const lines = [
      run(process.pid),
      ...steps(3),
      line(1, 3, 'end', { stopReason: 'aborted' }),
      line(2, 3, 'attempt'),
      line(2, 3, 'run', { time: Date.now(), environment: { pid: process.pid, host: hostname() } }),
      line(2, 4, 'step', { loss: 1 }),
    ];
    expect(await monitor.readRun(written('resumed', lines))).toMatchObject({ state: 'running', steps: 4 });
  });
});

test('figures: the last and the best, by what the name tells; NaN is never best', async () => {
  const evals = [
    [0.5, 0.2, 3],
    [Number.NaN, 0.9, 1],
    [0.7, 0.3, 2],
  ].map(([loss, acc, mae], i) =>
    line(1, i + 1, 'eval', { 'val/loss': loss, 'val/accuracy': acc, 'val/mae': mae, 'val/samples': 9, epoch: i }),
  );
  const got = figuresOf(
    await monitor.readRun(written('figures', [run(1), ...steps(2), ...evals, line(1, 9, 'eval', { 'val/never': Number.NaN })])),
  );
  expect(got).toEqual([
    { name: 'loss', last: 0.5, best: 0.5, step: 2 },
    { name: 'val/loss', last: 0.7, best: 0.5, step: 1 },
    { name: 'val/accuracy', last: 0.3, best: 0.9, step: 2 },
    { name: 'val/mae', last: 2, best: 1, step: 2 },
    { name: 'val/never', last: Number.NaN, best: Number.NaN, step: 9 },
  ]);
});

test('differences: configuration and environment, one line each, without what every start changes', async () => {
  const facts = (lr: number, node: string, more = {}) =>
    line(1, 0, 'run', {
      configuration: { optimizer: { groups: [{ lr }] }, metrics: ['a', 'b'], ...more },
      environment: { node, pid: lr, argv: [String(lr)] },
    });
  const [a, b] = await Promise.all([
    monitor.readRun(written('a', [facts(0.1, 'v20')])),
    monitor.readRun(written('b', [facts(0.2, 'v20', { seed: 1 })])),
  ]);
  expect(differences(a, b)).toEqual([
    { name: 'optimizer.groups.0.lr', a: '0.1', b: '0.2' },
    { name: 'seed', a: undefined, b: '1' },
  ]);
  expect(differences(a, a)).toEqual([]);
  expect([...flat({ a: [], b: {}, c: [1, 'x'], d: [[1]], e: null })]).toEqual([
    ['a', ''],
    ['b', '{}'],
    ['c', '1, x'],
    ['d.0', '1'],
    ['e', 'null'],
  ]);
});

test('runs are found in folders of folders, by name; what they hold is not looked into', async () => {
  for (const name of ['many/r10', 'many/r9', 'many/deep/er/r', 'many/r9/previous', 'many/.hidden', 'many/a/b/c/too deep'])
    written(name, [run(1)]);
  const found = await monitor.findRuns(join(folder, 'many'));
  expect(found.map((f) => f.slice(folder.length + 6))).toEqual(['deep/er/r', 'r9', 'r10']);
  await expect(monitor.findRuns(join(folder, 'none'))).rejects.toThrow(/cannot be read.*Give the folder that holds runs/);
  await expect(monitor.readRun(join(folder, 'many'))).rejects.toThrow(/holds no metrics.jsonl/);
  await expect(monitor.readRun(join(folder, 'none'))).rejects.toThrow(/none: there is no such run/);
});

describe('a killed run', () => {
  const lines = [
    line(1, 0, 'attempt'),
    run(1),
    ...steps(6),
    line(1, 6, 'eval', { 'val/loss': 0.5, 'val/größe': 0.25 }),
    line(1, 6, 'notice', { message: 'é\u{1f600}' }),
  ];
  const whole = lines.map((l) => Buffer.from(`${l}\n`));
  const ends = whole.map((_, i) => whole.slice(0, i + 1).reduce((n, b) => n + b.length, 0));

  test('is read to its last whole record, wherever its log ends; the report tells of the rest', async () => {
    const dir = written('cut', lines);
    const file = join(dir, 'metrics.jsonl');
    const bytes = readFileSync(file);
    for (let end = 0; end <= bytes.length; end += end < bytes.length - 120 ? 7 : 1) {
      writeFileSync(file, bytes.subarray(0, end));
      const { history } = await monitor.readRun(dir);
      // A line is whole without its end of line, too.
      const count = ends.filter((e) => e - 1 <= end).length;
      const counting = lines
        .slice(0, count)
        .map((l) => monitor.parseRecord(l))
        .filter((r) => r.type !== 'attempt');
      expect(history.records, `cut at ${end}`).toEqual(counting);
      expect(history.damaged.length, `cut at ${end}`).toBe(end > (ends[count - 1] ?? 0) ? 1 : 0);
      if (end % 5 === 0) {
        const page = await monitor.reportOf(dir);
        expect(page.endsWith('</body></html>\n'), `cut at ${end}`).toBe(true);
        expect(page.includes('could not be read'), `cut at ${end}`).toBe(history.damaged.length > 0);
      }
    }
  });
  test('its tables may be cut or mad: the report goes without them, or shows what is right', async () => {
    const dir = written('tables', lines);
    mkdirSync(join(dir, 'eval'), { recursive: true });
    const file = join(dir, 'eval/latest.json');
    writeFileSync(
      file,
      JSON.stringify({
        attempt: 1,
        step: 6,
        epoch: 1,
        figures: {},
        perClass: [{ label: 'x', precision: 0.5, recall: 1, f1: 'NaN', support: 3 }],
      }),
    );
    expect(await monitor.reportOf(dir)).toContain('>Classes</h3>');
    truncateSync(file, 40);
    expect(await monitor.reportOf(dir)).not.toContain('>Classes</h3>');
    copyFileSync(file, join(dir, 'eval/best.json'));
    for (const mad of [
      'null',
      '{"step":1,"figures":{},"perClass":5,"confusion":[],"mistakes":{"length":3},"reliability":"x","strata":null}',
    ]) {
      writeFileSync(file, mad);
      expect(await monitor.reportOf(dir)).not.toContain('>Classes</h3>');
    }
  });
});

test('a report is made of whatever a log and tables may hold, and no tag of theirs is in it', async () => {
  const seed = Number(process.env.ANNEAL_SEED ?? Date.now() % 1e6);
  let state = seed;
  const draw = (n: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const odd: unknown[] = [
    '<i>x</i>',
    '',
    null,
    [],
    {},
    { toString: 5 },
    -1,
    1e300,
    'NaN',
    'Infinity',
    true,
    [[null]],
    ['<i>x</i>'],
    { '<i>x</i>': '<i>x</i>' },
  ];
  /** The value with some of its parts put in place of others. */
  const spoilt = (v: unknown): unknown => {
    if (draw(12) === 0) return odd[draw(odd.length)];
    if (Array.isArray(v)) return v.map(spoilt);
    if (typeof v !== 'object' || v === null) return v;
    return Object.fromEntries(Object.entries(v).map(([k, inner]) => [draw(40) === 0 ? '<i>x</i>' : k, spoilt(inner)]));
  };
  const row = { label: 'a', precision: 0.5, recall: 0.5, f1: 0.5, support: 2 };
  const mistake = {
    id: 1,
    target: 0,
    prediction: 1,
    confidence: 0.9,
    targetProbability: 0.1,
    input: { image: 'data:image/png;base64,AAAA', text: 't' },
  };
  const tables = {
    attempt: 1,
    step: 3,
    epoch: 1,
    figures: { 'val/ece': 0.1 },
    labels: ['a', 'b'],
    perClass: [row, row],
    confusion: [
      [1, 2],
      [3, 4],
    ],
    mostConfused: [{ target: 'a', prediction: 'b', count: 1 }],
    reliability: [{ from: 0, to: 1, count: 2, confidence: 0.5, accuracy: 0.5 }],
    strata: [{ stratum: 's', samples: 1, accuracy: 1, macroF1: 1 }],
    mistakes: [mistake, mistake],
  };
  const records = [
    {
      type: 'run',
      time: 1e12,
      model: 'm',
      optimizer: 'o',
      precision: 'f32',
      parameters: 3,
      configuration: { a: [1], b: { c: 1 } },
      environment: { pid: 1, host: 'h' },
    },
    { type: 'step', loss: 1, lr: 0.1, gradNorm: 1, applied: true, memory: 5 },
    { type: 'eval', epoch: 1, 'val/loss': 1, 'val/accuracy': 1 },
    { type: 'layers', layers: [{ name: 'l', norm: 1 }] },
    { type: 'notice', message: 'm' },
    { type: 'end', stopReason: 'failed', error: 'e' },
  ];
  const dir = written('spoilt', []);
  mkdirSync(join(dir, 'eval'), { recursive: true });
  for (let i = 0; i < 300; i++) {
    writeFileSync(join(dir, 'eval/latest.json'), JSON.stringify(spoilt(tables)));
    const lines = records.map((r, step) =>
      JSON.stringify({ ...(spoilt(r) as object), attempt: 1, step: draw(9) ? step : 2 ** 40, type: r.type }),
    );
    writeFileSync(join(dir, 'metrics.jsonl'), lines.join('\n'));
    const page = await monitor.reportOf(dir).catch((error) => {
      throw new Error(`ANNEAL_SEED=${seed}, report ${i}: ${error.stack}`);
    });
    expect(page, `ANNEAL_SEED=${seed}, report ${i}`).not.toMatch(/<i>|\[object/);
    figuresOf(await monitor.readRun(dir));
  }
});

describe('curves', () => {
  test('beyond 100,000 steps keep the smallest and largest of equal parts, and are bounded', () => {
    const n = 250_000;
    const records = Array.from(
      { length: n },
      (_, i): monitor.HistoryRecord => ({ attempt: 1, step: i + 1, type: 'step', loss: i === 123_456 ? 77 : Math.cos(i), lr: 1 }),
    );
    const { x, steps, kept, charts } = curvesOf(records);
    expect([steps, kept]).toEqual([n, stepsKept]);
    const numbers = (text: string) => new Float32Array(new Uint8Array(Buffer.from(text, 'base64')).buffer);
    const loss = numbers(charts[0]?.curves[0]?.values as string);
    expect([Math.max(...loss.slice(0, 60_000)), loss.length]).toEqual([77, kept]);
    expect(new Float64Array(new Uint8Array(Buffer.from(x, 'base64')).buffer).at(-1)).toBe(n);
  });
  test('of a run without steps are those of its evaluations; of nothing, nothing', () => {
    const evals = [1, 2].map(
      (step): monitor.HistoryRecord => ({ attempt: 1, step, type: 'eval', 'val/loss': Number.NaN, 'val/accuracy': 1 / step }),
    );
    expect(curvesOf(evals).charts.map((c) => [c.title, c.curves.map((l) => l.few)])).toEqual([
      ['Loss', [[null, null]]],
      ['Validation', [[1, 0.5]]],
    ]);
    expect(curvesOf([])).toMatchObject({ steps: 0, charts: [], broken: [], skipped: [] });
  });
});
