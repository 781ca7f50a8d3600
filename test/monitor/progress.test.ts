import { describe, expect, test } from 'vitest';
import {
  formatDuration,
  formatNumber,
  formatRate,
  ProgressBar,
  type ProgressState,
  RateMeter,
  renderProgress,
  secondsLeft,
  sparkline,
  terminalImage,
} from '../../lib/monitor/index.ts';
import { ConfigError, ShapeError } from '../../lib/native/errors.ts';

const state: ProgressState = {
  step: 250,
  totalSteps: 1000,
  epoch: 2,
  epochs: 5,
  elapsed: 50,
  loss: 0.31234,
  lr: 0.001,
  throughput: 12345,
  losses: [4, 3, 2, 1],
  metrics: { 'val/accuracy': 0.9876 },
};

describe('renderProgress', () => {
  test('shows everything where there is room', () => {
    expect(renderProgress(state, 200)).toBe(
      'epoch 2/5 ████░░░░░░░░░░░░  25% 250/1000 ETA 2m30s loss 0.3123 █▆▃▁ lr 0.001000 12.3k samples/s val/accuracy 0.9876',
    );
  });
  test('never takes more than its width, and the loss goes last', () => {
    const seen = new Set<string>();
    for (let width = 150; width >= 11; width--) {
      const line = renderProgress(state, width);
      expect(line.length).toBeLessThanOrEqual(width);
      expect(line).toContain('loss 0.3123');
      seen.add(line);
    }
    expect(seen.size).toBeGreaterThan(7);
    expect(renderProgress(state, 30)).toBe(' 25% ETA 2m30s loss 0.3123');
    expect(renderProgress(state, 4)).toBe('loss');
    expect(renderProgress(state, 0)).toBe('');
  });
  test('NaN is shown', () => {
    expect(renderProgress({ step: 1, loss: Number.NaN, losses: [1, Number.NaN, 2] }, 80)).toBe('step 1 loss NaN ▁×█');
    expect(renderProgress({ step: 1, loss: Number.POSITIVE_INFINITY }, 80)).toBe('step 1 loss Infinity');
  });
  test('without an end there is no ETA; at the end there is the time taken', () => {
    expect(renderProgress({ step: 7, elapsed: 3 }, 80)).toBe('step 7 3s');
    expect(renderProgress({ step: 10, totalSteps: 10, elapsed: 75 }, 80)).toBe('████████████████ 100% 10/10 in 1m15s');
  });
  test('a resumed run reckons with its own steps only', () => {
    expect(secondsLeft({ step: 150, startStep: 100, totalSteps: 200, elapsed: 10 })).toBe(10);
    expect(secondsLeft({ step: 100, startStep: 100, totalSteps: 200, elapsed: 1 })).toBeUndefined();
    expect(secondsLeft({ step: 300, totalSteps: 200, elapsed: 1 })).toBe(0);
  });
});

/** A stream that keeps what is written, and a clock that is set by hand. */
function setup(isTTY: boolean, options = {}) {
  const written: string[] = [];
  const clock = { ms: 0 };
  const stream = { isTTY, columns: 60, write: (s: string) => written.push(s) };
  return { written, clock, bar: new ProgressBar(stream, { now: () => clock.ms, ...options }) };
}

describe('ProgressBar', () => {
  test('redraws one line on a terminal, at most every 100 ms', () => {
    const { written, clock, bar } = setup(true);
    for (clock.ms = 0; clock.ms <= 1000; clock.ms += 10) bar.update({ step: clock.ms / 10, loss: 1 });
    expect(written).toHaveLength(11);
    expect(written.every((s) => s.startsWith('\r') && !s.includes('\n') && s.length <= 60)).toBe(true);
    expect(written.at(-1)).toMatch(/^\rstep 100 loss 1\.000 /);
  });
  test('a shorter line wipes the longer one', () => {
    const { written, clock, bar } = setup(true);
    bar.update({ step: 1, loss: 0.123456 });
    clock.ms = 100;
    bar.update({ step: 2 });
    expect(written).toEqual(['\rstep 1 loss 0.1235', '\rstep 2            ']);
  });
  test('writes a line every few seconds elsewhere, without escapes', () => {
    const { written, clock, bar } = setup(false);
    for (clock.ms = 0; clock.ms <= 12_000; clock.ms += 100) bar.update({ step: clock.ms / 100 });
    expect(written).toEqual(['step 0\n', 'step 50\n', 'step 100\n']);
    bar.finish(); // the last state was not shown yet
    expect(written.at(-1)).toBe('step 120\n');
    bar.finish();
    expect(written).toHaveLength(4);
  });
  test('finish draws the last state and ends the line', () => {
    const { written, bar } = setup(true);
    bar.update({ step: 1 });
    bar.update({ step: 2 }); // too early to be drawn
    bar.finish();
    expect(written).toEqual(['\rstep 1', '\rstep 2', '\n']);
  });
  test('a message stands above the bar', () => {
    const { written, bar } = setup(true);
    bar.log('first');
    bar.update({ step: 1 });
    bar.log('skipped a step');
    expect(written).toEqual(['first\n', '\rstep 1', `\r${' '.repeat(6)}\r`, 'skipped a step\n', '\rstep 1']);
  });
  test('gathers the losses for the sparkline', () => {
    const { written, clock, bar } = setup(true);
    for (let s = 0; s < 3; s++, clock.ms += 100) bar.update({ step: s, loss: [3, Number.NaN, 1][s] as number });
    expect(written.at(-1)).toBe('\rstep 2 loss 1.000 █×▁');
  });
  test('draws nothing unless given a stream', () => {
    expect(() => new ProgressBar(undefined as never)).toThrow(ConfigError);
    expect(() => setup(true, { intervall: 1 })).toThrow(/"intervall" should be "interval"/);
  });
});

test('RateMeter: samples a second in the window', () => {
  const meter = new RateMeter(10);
  expect(meter.rate).toBeNaN();
  meter.add(64, 0);
  expect(meter.rate).toBeNaN();
  for (let ms = 100; ms <= 5000; ms += 100) meter.add(64, ms);
  expect(meter.rate).toBeCloseTo(640, 9);
  for (let ms = 5001; ms <= 25_000; ms++) meter.add(1, ms); // faster steps: the old pace has left the window
  expect(meter.rate).toBeCloseTo(1000, 9);
});

describe('text', () => {
  test('sparkline averages groups and marks NaN', () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8)).toBe('▁▂▃▄▅▆▇█');
    expect(sparkline([0, 0, 10, 10, 20, 20], 3)).toBe('▁▅█');
    expect(sparkline([1, Number.NaN, Infinity, 2], 4)).toBe('▁××█');
    expect(sparkline([5, 5], 10)).toBe('▄▄');
    expect(sparkline([], 10)).toBe('');
    expect(sparkline([1, 2], 0)).toBe('');
  });
  test('durations, numbers, rates', () => {
    expect([0, 59.4, 59.6, 185, 7620, 273_600, -1, Number.NaN].map(formatDuration)).toEqual([
      '0s',
      '59s',
      '1m00s',
      '3m05s',
      '2h07m',
      '3d04h',
      '?',
      '?',
    ]);
    expect([0, 0.03125, Math.PI, 31415.9, 3.14e-5, -2e7, Number.NaN].map(formatNumber)).toEqual([
      '0',
      '0.03125',
      '3.142',
      '31416',
      '3.14e-5',
      '-2.00e+7',
      'NaN',
    ]);
    expect([7.25, 950.4, 9999, 12_345, 4.5e6, 2e9, Number.NaN].map(formatRate)).toEqual([
      '7.25',
      '950',
      '9999',
      '12.3k',
      '4.50M',
      '2.00G',
      'NaN',
    ]);
  });
});

describe('terminalImage', () => {
  test('two pixels a character', () => {
    const pixels = Uint8Array.of(255, 0, 255, 0, 255, 0, 0, 255, 255, 255, 0, 0);
    expect(terminalImage(pixels, 4, 3)).toBe('█ ▀▄\n▀▀  ');
    expect(terminalImage(pixels, 4, 3, { invert: true })).toBe(' █▄▀\n  ▀▀');
  });
  test('floats are scaled, NaN is seen', () => {
    expect(terminalImage(Float32Array.of(-0.42, 2.8, -0.42, 2.8), 2, 2)).toBe(' █');
    expect(terminalImage(Float32Array.of(Number.NaN, 1, 0, 1), 2, 2)).toBe('?█');
    expect(terminalImage(new Float32Array(4), 2, 2)).toBe('  ');
  });
  test('in colour: greys 232 to 255 above and below', () => {
    expect(terminalImage(Uint8Array.of(255, 0), 1, 2, { color: true })).toBe('\x1b[38;5;255;48;5;232m▀\x1b[0m');
    expect(terminalImage(Float32Array.of(Number.NaN, 0, 1, 0), 2, 2, { color: true })).toContain('38;5;196');
  });
  test('sizes must agree', () => {
    expect(() => terminalImage(new Uint8Array(783), 28, 28)).toThrow(ShapeError);
    expect(() => terminalImage(new Uint8Array(4), 2, 2, { colour: true } as never)).toThrow(/"colour" should be "color"/);
    expect(terminalImage(new Uint8Array(784), 28, 28).split('\n')).toHaveLength(14);
  });
});
