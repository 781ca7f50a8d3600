/** What pages of charts share: text that stays text, scripts that may run, curves that keep their spikes. */
import { createHash } from 'node:crypto';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import {
  asGlobal,
  chartAssets,
  contentPolicy,
  escapeHtml,
  html,
  inlineScript,
  jsonForScript,
} from '../../lib/monitor/charts/index.ts';
import { decimate, formatBytes, formatNumber, formatTick, lowerBound, smooth } from '../../lib/monitor/charts/page.mjs';
import * as terminal from '../../lib/monitor/text.ts';

describe('text in a page', () => {
  const hostile = `</script><script>alert(1)</script><img src=x onerror="alert('x')">&amp;`;
  test('is shown as it is', () => {
    const shown = `${html`<p title="${hostile}">${hostile}</p>`}`;
    expect(shown.match(/<\/?[a-z]+/g)).toEqual(['<p', '</p']);
    expect(shown).not.toMatch(/="[^"]*'[^"]*"/);
    expect(escapeHtml('a\u202eb\u0000c\td\n')).toBe('a\ufffdb\ufffdc\td\n');
  });
  test('templates nest, lists join, nothing leaves nothing', () => {
    expect(`${html`<ul>${['<', 1].map((v) => html`<li>${v}</li>`)}${null}${undefined}${false}${[]}${0}</ul>`}`).toBe(
      '<ul><li>&lt;</li><li>1</li>0</ul>',
    );
  });
  test('as JSON ends no script, and is the same value', () => {
    const json = jsonForScript({ [hostile]: [hostile, '<!--', '\u2028', Number.NaN] });
    expect(json).not.toMatch(/[<>&\u2028]/);
    expect(JSON.parse(json)).toEqual({ [hostile]: [hostile, '<!--', '\u2028', 'NaN'] });
  });
});

describe('scripts', () => {
  test('an embedded script ends where it ends, and the policy has its hash', () => {
    const text = 'const end = "</script>"; const open = "<!--"; answer = end.length + open.length;';
    const script = `${inlineScript(text)}`;
    expect(script.indexOf('</script')).toBe(script.length - '</script>'.length);
    const inner = script.slice('<script>'.length, -'</script>'.length);
    const hash = createHash('sha256').update(inner).digest('base64');
    expect(contentPolicy([inner], '')).toContain(`script-src 'sha256-${hash}'`);
    const context: { answer?: number } = {};
    runInNewContext(inner, context);
    expect(context.answer).toBe(13);
  });
  test('uPlot and the charts are there, and define their names', () => {
    const context = {};
    for (const script of chartAssets().scripts) runInNewContext(script, context, { filename: 'chart' });
    expect(runInNewContext('typeof uPlot + typeof charts.draw + charts.formatNumber(0.5)', context)).toBe(
      'functionfunction0.5000',
    );
    expect(asGlobal('a', 'export const b = 1;\nexport function c() {}')).toMatch(/return \{ b, c \}/);
  });
});

describe('curves', () => {
  test('of many points keep every bucket’s smallest and largest, and so every spike', () => {
    const n = 100_000;
    const x = Float64Array.from({ length: n }, (_, i) => i);
    const y = Float64Array.from(x, (v) => Math.sin(v / 500));
    y[33_333] = 99;
    y[77_777] = -99;
    y[50_000] = Number.NaN;
    const [xs, ys] = decimate(x, [y], 0, n, 500) as [number[], number[]];
    expect([xs.length, ys.length]).toEqual([1000, 1000]);
    expect([Math.max(...ys), Math.min(...ys)]).toEqual([99, -99]);
    expect(xs).toEqual([...xs].sort((a, b) => a - b));
    expect([xs[0], xs[999]]).toEqual([0, n - 1]);
    const at = (step: number) => ys[2 * Math.floor(step / 200)]; // the smallest and largest of one bucket in their order
    expect([at(33_333), ys[2 * Math.floor(33_333 / 200) + 1]]).toContain(99);
    const slice = y.slice(200, 400);
    expect([...ys.slice(2, 4)].sort((a, b) => a - b)).toEqual([Math.min(...slice), Math.max(...slice)]);
  });
  test('of few points are left as they are; what is not finite is a gap', () => {
    expect(decimate([1, 2, 5], [[1, Number.NaN, Infinity]], 0, 3, 2)).toEqual([
      [1, 2, 5],
      [1, null, null],
    ]);
    expect(decimate([1, 2, 5], [[1, 2, 3]], 1, 3, 1)).toEqual([
      [2, 5],
      [2, 3],
    ]);
    expect(decimate([], [[]], 0, 0, 10)).toEqual([[], []]);
    const gaps = decimate(
      Float64Array.from({ length: 10 }, (_, i) => i),
      [new Float64Array(10).fill(Number.NaN)],
      0,
      10,
      2,
    );
    expect(gaps[1]).toEqual([null, null, null, null]);
  });
  test('smoothed: the weighted mean of what went before, without a pull to 0', () => {
    const values = Float64Array.of(4, 4, Number.NaN, 4, 0);
    const s = smooth(values, 0.9);
    expect([s[0], s[1], s[3]].map((v) => (v as number).toFixed(12))).toEqual([
      '4.000000000000',
      '4.000000000000',
      '4.000000000000',
    ]);
    expect(s[2]).toBeNaN();
    // sum of 0.1 * 0.9^k * v over sum of 0.1 * 0.9^k, newest first
    const weights = [1, 0.9, 0.81, 0.729];
    expect(s[4]).toBeCloseTo((4 * (0.9 + 0.81 + 0.729)) / weights.reduce((a, b) => a + b), 12);
    expect(smooth(values, 0)).toBe(values);
  });
  test('the first place from a value on', () => {
    expect([0, 1, 2.5, 9].map((v) => lowerBound([1, 2, 3], v))).toEqual([0, 0, 2, 3]);
  });
  test.each([0, 0.5, 1e-5, 123456, 1e7, Number.NaN, -2])('%d reads as in the terminal', (v) => {
    expect(formatNumber(v)).toBe(terminal.formatNumber(v));
  });
  test('beside an axis numbers are short; bytes have their unit', () => {
    expect([0, 0.003, 2, 0.25, 1500, 2e-4, 1.5e-7, 1e6, -3].map(formatTick)).toEqual([
      '0',
      '0.003',
      '2',
      '0.25',
      '1500',
      '2e-4',
      '1.5e-7',
      '1e+6',
      '-3',
    ]);
    expect([0, 1023, 1024, 1.5 * 2 ** 20, 3 * 2 ** 40, null].map(formatBytes)).toEqual([
      '0 B',
      '1020 B',
      '1 KB',
      '1.5 MB',
      '3 TB',
      '',
    ]);
  });
});
