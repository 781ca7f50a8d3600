import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  formatRecord,
  History,
  type HistoryRecord,
  JsonLinesSink,
  parseRecord,
  readHistory,
  supersede,
} from '../../lib/monitor/index.ts';
import { DataError } from '../../lib/native/errors.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-history-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let count = 0;
const fresh = () => join(dir, `${count++}`, 'history.jsonl');

const step = (attempt: number, n: number, loss = n): HistoryRecord => ({ attempt, step: n, type: 'step', loss });

/** A run that wrote steps from..to. */
async function run(path: string, attempt: number, from: number, to: number) {
  const sink = new JsonLinesSink(path);
  sink.begin(attempt, from);
  for (let s = from + 1; s <= to; s++) sink.write(step(attempt, s, attempt * 1000 + s));
  await sink.close();
}

describe('records', () => {
  test('NaN and the infinities survive, inside arrays too', () => {
    const record = { attempt: 1, step: 2, type: 'step', loss: Number.NaN, a: [Infinity, 1, -Infinity], note: 'x', none: null };
    expect(formatRecord(record)).toContain('"loss":"NaN"');
    expect(parseRecord(formatRecord(record))).toEqual(record);
  });
  test.each(['', '{', 'null', '[]', '1', '{"attempt":1,"step":2}', '{"attempt":1,"step":1.5,"type":"x"}'])(
    '%j is none',
    (line) => {
      expect(() => parseRecord(line)).toThrow(DataError);
    },
  );
});

describe('a resumed run', () => {
  test('overwrites its lost tail', async () => {
    const path = fresh();
    await run(path, 1, 0, 10); // checkpoint at 6, killed at 10
    await run(path, 2, 6, 9); // checkpoint at 8, killed at 9
    await run(path, 3, 8, 12);
    const { records, attempt, superseded, damaged } = await readHistory(path);
    expect(records.map((r) => r.step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    expect(records.map((r) => r.attempt)).toEqual([1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3]);
    expect([attempt, superseded, damaged]).toEqual([3, 5, []]);
  });
  test('that goes back before an earlier resume overwrites both attempts', () => {
    const begin = (attempt: number, n: number) => ({ attempt, step: n, type: 'attempt' });
    const all = [begin(1, 0), step(1, 1), step(1, 2), step(1, 3), begin(2, 2), step(2, 3), begin(3, 1), step(3, 2)];
    expect(supersede(all)).toEqual([step(1, 1), step(3, 2)]);
  });
  test('without attempt lines the first step of the attempt counts', () => {
    const all = [step(1, 1), step(1, 2), step(1, 3), step(2, 3), step(2, 4)];
    expect(supersede(all)).toEqual([step(1, 1), step(1, 2), step(2, 3), step(2, 4)]);
  });
  test('that made no step yet has still given up what came after', () => {
    expect(supersede([step(1, 1), step(1, 2), { attempt: 2, step: 1, type: 'attempt' }])).toEqual([step(1, 1)]);
  });

  test('two starts under one number: the later one counts', () => {
    const start = { attempt: 2, step: 1, type: 'attempt' };
    const all = [step(1, 1), start, step(2, 2, 8), step(2, 3, 8), start, step(2, 2, 9)];
    expect(supersede(all)).toEqual([step(1, 1), step(2, 2, 9)]);
  });
});

describe('JsonLinesSink', () => {
  test('a line cut by a kill at any byte is reported, and what follows is whole', async () => {
    const path = fresh();
    await run(path, 1, 0, 3);
    const whole = readFileSync(path);
    const lastLine = whole.lastIndexOf(10, whole.length - 2) + 1;
    for (let n = lastLine; n <= whole.length; n++) {
      writeFileSync(path, whole);
      truncateSync(path, n);
      await run(path, 2, 2, 4);
      const { records, damaged } = await readHistory(path);
      expect(records.map((r) => [r.attempt, r.step])).toEqual([
        [1, 1],
        [1, 2],
        [2, 3],
        [2, 4],
      ]);
      // Nothing of the line, or all of it (with or without its end), is no damage.
      expect(damaged).toHaveLength(n === lastLine || n >= whole.length - 1 ? 0 : 1);
      if (damaged.length > 0) expect(damaged[0]).toEqual({ line: 4, reason: 'not JSON' });
    }
  });
  test('flush waits for all lines, in order, however many', async () => {
    const path = fresh();
    const sink = new JsonLinesSink(path);
    for (let i = 0; i < 5000; i++) {
      sink.write(step(1, i));
      if (i % 1000 === 0) await new Promise((go) => setImmediate(go));
    }
    await sink.flush();
    expect((await readHistory(path)).records.map((r) => r.step)).toEqual(Array.from({ length: 5000 }, (_, i) => i));
    await sink.close();
    expect(() => sink.write(step(1, 1))).toThrow(/log is closed/);
  });
  test('a full disk is an error at flush, not in training; lost lines are counted', async () => {
    const sink = new JsonLinesSink('/dev/full');
    sink.write(step(1, 1));
    await expect(sink.flush()).rejects.toThrow(/cannot be written.*ENOSPC.*1 lines are lost/);
    sink.write(step(1, 2));
    await expect(sink.close()).rejects.toThrow(/2 lines are lost/);
  });
  test('a folder that cannot be made is the same', async () => {
    const file = fresh();
    await run(file, 1, 0, 1);
    const sink = new JsonLinesSink(join(file, 'x', 'y.jsonl'));
    sink.write(step(1, 1));
    await expect(sink.close()).rejects.toThrow(DataError);
  });
  test('foreign lines are reported with their number', async () => {
    const path = fresh();
    await run(path, 1, 0, 1);
    appendFileSync(path, 'hello\n\n{"attempt":1}\n');
    expect((await readHistory(path)).damaged).toEqual([
      { line: 3, reason: 'not JSON' },
      { line: 5, reason: 'without attempt, step and type' },
    ]);
    await expect(readHistory(join(dir, 'none'))).rejects.toThrow(/cannot be read.*ENOENT/);
  });
});

describe('History', () => {
  test('keeps series by metric, NaN included, and drops the lost tail', () => {
    const h = new History();
    h.begin(1, 0);
    for (let s = 1; s <= 5; s++) h.write({ ...step(1, s, s === 4 ? Number.NaN : s), time: 99 });
    h.write({ attempt: 1, step: 3, type: 'eval', 'val/loss': 0.5, perClass: [1] });
    expect(h.names).toEqual(['loss', 'val/loss']);
    expect(h.series('loss')).toEqual({ steps: [1, 2, 3, 4, 5], values: [1, 2, 3, Number.NaN, 5] });
    h.begin(2, 3);
    h.write(step(2, 4, 40));
    expect(h.series('loss')).toEqual({ steps: [1, 2, 3, 4], values: [1, 2, 3, 40] });
    expect(h.last('val/loss')).toBe(0.5);
    expect([h.last('no'), h.series('no').steps]).toEqual([undefined, []]);
  });
});
