/** The report in a real browser: what is drawn, at which width, for the keyboard, in the dark, in print; and that hostile texts stay texts. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { monitor } from '../../lib/index.ts';
import { imagePng } from '../../lib/monitor/png.ts';
import { inBrowser, type Opened, open, poorContrasts, responses, withoutBrowser } from '../helpers/browser.ts';

const folder = mkdtempSync(join(tmpdir(), 'anneal-report-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const hostile = `</script><script>alert(1)</script><img src=x onerror=alert(2)><b>"'&`;
const lossAt = (step: number): number => (step === 7 ? Number.NaN : 2 / step + 0.001 * (step % 7));

/** A run's folder as a Trainer leaves it, of `steps` steps; its report is a file beside it. */
async function reported(
  name: string,
  steps: number,
  options: { text?: string; findings?: monitor.ReportFinding[] } = {},
): Promise<string> {
  const dir = join(folder, name);
  const { text = 'plain' } = options;
  mkdirSync(join(dir, 'eval'), { recursive: true });
  const at = (step: number, type: string, more: object) => monitor.formatRecord({ attempt: 1, step, type, ...more } as never);
  const lines = [
    at(0, 'run', {
      time: 1.7e12,
      model: text,
      optimizer: text,
      parameters: 12,
      totalSteps: steps,
      configuration: { loss: text, [text]: [text, 1], model: `${text}\n  (0)` },
      environment: { argv: [text], host: text },
    }),
  ];
  for (let s = 1; s <= steps; s++) {
    const norm = 1 + Math.sin(s);
    lines.push(
      at(s, 'step', {
        loss: lossAt(s),
        lr: s * 1e-5,
        plannedLr: s * 2e-5,
        gradNorm: norm,
        clippedGradNorm: Math.min(1, norm),
        samplesPerSecond: 1000,
        memory: 2 ** 20 * s,
        peakMemory: 2 ** 21 * s,
        applied: s !== 9,
        lossScale: 65536,
      }),
    );
    if (s % Math.ceil(steps / 4) === 0)
      lines.push(at(s, 'eval', { epoch: 1, 'val/loss': 3 / s, 'val/accuracy': 0.5, [`val/${text}`]: 0.25 }));
  }
  lines.push(
    at(steps, 'notice', { message: text }),
    at(steps, 'layers', { layers: [{ name: text, dead: 0.5 }] }),
    at(steps, 'end', { stopReason: 'failed', error: text }),
  );
  writeFileSync(join(dir, 'metrics.jsonl'), `${lines.join('\n')}\n`);
  const image = `data:image/png;base64,${imagePng({ data: Uint8Array.of(0, 255, 0, 255), shape: [1, 2, 2], bytes: true }).toString('base64')}`;
  const mistake = { target: 0, prediction: 1, confidence: 0.9, targetProbability: 0.05 };
  const tables: monitor.EvalTables = {
    ...{ attempt: 1, step: steps, epoch: 1, figures: { 'val/ece': 0.03, 'val/mce': 0.2 }, labels: [text, 'b', 'c'] },
    perClass: [text, 'b', 'c'].map((label, i) => ({ label, precision: 0.5, recall: 0.25, f1: 0.125 * i, support: 4 })),
    confusion: [
      [3, 1, 0],
      [0, 4, 0],
      [2, 2, 0],
    ],
    mostConfused: [{ target: text, prediction: 'b', count: 2 }],
    reliability: [{ from: 0.8, to: 1, count: 8, confidence: 0.9, accuracy: 0.75 }],
    strata: [{ stratum: text, samples: 12, accuracy: 0.5, macroF1: 0.4 }],
    mistakes: [
      { id: 1, ...mistake, input: { image } },
      { id: 2, ...mistake, input: { text } },
      { id: 3, ...mistake, input: { image: 'https://example.com/x.png' } },
    ],
  };
  writeFileSync(join(dir, 'eval/latest.json'), JSON.stringify(tables));
  const outputs = (step: number) => ({
    ...{ attempt: 1, step, type: 'samples', epoch: 1 },
    samples: [
      { name: text, text: `${text} ${step}` },
      { name: 'seen', image },
      { name: 'elsewhere', image: 'https://example.com/y.png' },
      { name: 'svg', image: 'data:image/svg+xml;base64,PHN2Zy8+' },
      { name: 'NaN', text: 'NaN' },
      5,
    ],
  });
  const times = Array.from({ length: 15 }, (_, i) => monitor.formatRecord(outputs(i + 1) as never));
  writeFileSync(join(dir, 'samples.jsonl'), `${times.join('\n')}\n{"attempt":1,"st`);
  const page = join(folder, `${name}.html`);
  writeFileSync(page, await monitor.reportOf(dir, options.findings && (() => options.findings as monitor.ReportFinding[])));
  return pathToFileURL(page).href;
}
const width = ({ page }: Opened) => page.evaluate('document.documentElement.scrollWidth') as Promise<number>;
/** What uPlot draws of a chart's curve: [steps, values]. */
const drawn = ({ page }: Opened, chart: number, curve = 1) =>
  page.evaluate(`[report.charts[${chart}].plot.data[0], report.charts[${chart}].plot.data[${curve}]]`) as Promise<
    [number[], (number | null)[]]
  >;

describe.skipIf(withoutBrowser)(inBrowser('the report'), () => {
  test('draws the run’s own values, as pixels where they belong', async () => {
    const o = await open(await reported('values', 200));
    expect(await o.page.locator('.chart canvas').count()).toBe(7);
    expect(await o.page.locator('.panel h3').allTextContents()).toEqual(
      expect.arrayContaining([
        'Loss',
        'Learning rate',
        'Gradient norm',
        'Throughput (samples per second)',
        'Memory of the device',
        'Loss scale',
        'Validation',
      ]),
    );
    const [steps, losses] = await drawn(o, 0);
    expect(steps).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
    expect(losses).toEqual(steps.map((s) => (s === 7 ? null : Math.fround(lossAt(s)))));
    const [, validation] = await drawn(o, 0, 2);
    expect(validation.flatMap((v, i) => (v === null ? [] : [[i + 1, v]]))).toEqual(
      [50, 100, 150, 200].map((s) => [s, Math.fround(3 / s)]),
    );
    const [, planned] = await drawn(o, 1, 2);
    expect(planned[99]).toBe(Math.fround(100 * 2e-5));
    // The colour of the curve is on the canvas at the place of a value, and not beside it.
    const seen = await o.page.evaluate(`(() => {
      const plot = report.charts[0].plot;
      const color = (step, value) => {
        const [x, y] = [plot.valToPos(step, 'x', true), plot.valToPos(value, 'y', true)].map(Math.round);
        const data = plot.ctx.getImageData(x - 2, y - 2, 5, 5).data;
        return Array.from({ length: 25 }, (_, i) => data[4 * i + 2] - data[4 * i]).some((blue) => blue > 80);
      };
      return [color(1, ${lossAt(1)}), color(20, ${lossAt(20)}), color(20, 1.5)];
    })()`);
    expect(seen).toEqual([true, true, false]);
    expect(await o.page.textContent('main')).toMatch(/NaN or infinite at step 7\./);
    expect(await o.page.textContent('main')).toMatch(/Skipped at step 9\./);
    expect(o.errors).toEqual([]);
    expect(o.requests).toHaveLength(1);
  });

  test('has sample outputs of the first time, the last and some between, the last first', async () => {
    const { page } = await open(await reported('outputs', 30));
    const main = page.locator('main');
    const titles = await main.locator('h3', { hasText: 'After step' }).allTextContents();
    expect(titles).toEqual([15, 13, 11, 9, 7, 5, 3, 1].map((step) => `After step ${step} (1 epoch)`));
    expect(await main.locator('.samples').first().locator('li').allTextContents()).toEqual([
      ...['plainplain 15', 'seen', 'elsewhere', 'svg', 'NaNNaN'],
    ]);
    expect(await main.textContent()).toMatch(/8 of 15 times, the last first\.1 lines of the sample outputs could not be read/);
    expect(await main.locator('.samples img').first().getAttribute('alt')).toBe('seen, after step 15');
  });

  test('fits 1280 and 400 pixels, readable in the light and in the dark', async () => {
    const url = await reported('widths', 50, {
      text: 'a'.repeat(300),
      findings: [
        { severity: 'error', title: 'Overfitting', since: 3, evidence: 'e', action: 'a' },
        { severity: 'warning', title: 'W', since: 3, evidence: 'e', action: 'a', sampleIds: [1, 2] },
      ],
    });
    for (const dark of [false, true]) {
      const o = await open(url, { dark });
      expect(await width(o)).toBe(1280);
      await o.resize(400);
      await expect.poll(() => o.page.evaluate('Math.max(...report.charts.map((c) => c.plot.width))')).toBeLessThan(400);
      expect(await width(o)).toBe(400);
      expect(await poorContrasts(o.page)).toEqual([]);
      expect(await o.page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe(
        dark ? 'rgb(20, 23, 28)' : 'rgb(255, 255, 255)',
      );
      // Lines of charts: 3 to 1 against the panel.
      const ratios = (await o.page.evaluate(`(() => {
        const style = getComputedStyle(document.body);
        const light = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((s, c, i) => s + [0.2126, 0.7152, 0.0722][i] * c, 0);
        const of = (name) => light(style.getPropertyValue(name).trim());
        const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        return [0, 1, 2, 3, 4, 5].map((i) => ratio(of('--c' + i), of('--panel')));
      })()`)) as number[];
      expect(Math.min(...ratios)).toBeGreaterThan(3);
      expect(o.errors).toEqual([]);
    }
  });

  test('the check of contrast finds what is hard to read', async () => {
    const o = await open(
      'data:text/html,<p style="color:%23999">grey on white</p><p style="color:%23777;font-size:30px">large</p><div style="background:%23000"><p style="color:%23333">dark</p></div>',
    );
    expect((await poorContrasts(o.page)).map((p) => p.text)).toEqual(['grey on white', 'dark']);
  });

  test('hostile names, labels, texts and paths are shown as texts; nothing else runs, nothing is fetched', async () => {
    const findings = [{ severity: hostile, title: hostile, since: 1, evidence: hostile, action: hostile }];
    const o = await open(await reported('hostile', 30, { text: hostile, findings }));
    expect(o.errors).toEqual([]);
    expect(o.requests).toHaveLength(1);
    expect(await o.page.locator('.mistakes img').count()).toBe(1); // the one picture that came with the run
    expect(await o.page.locator('.samples img').count()).toBe(8); // and one each time
    expect(await o.page.locator('img').count()).toBe(9);
    expect(await o.page.evaluate("[...document.querySelectorAll('img')].map((i) => i.naturalWidth)")).toEqual(
      new Array(9).fill(2),
    );
    expect(await o.page.locator('b').count()).toBe(0);
    const text = (await o.page.textContent('body')) as string;
    expect(text.split('<img src=x onerror=alert(2)>').length).toBeGreaterThan(20);
    expect(await o.page.locator('.u-legend', { hasText: '<script>' }).count()).toBe(1);
    // The policy stops what would get past: a script, an event handler, a request.
    await o.page.evaluate(`document.body.insertAdjacentHTML('beforeend', '<img src="https://example.com/" onerror="window.ran = 1">');
      const s = document.createElement('script'); s.textContent = 'window.ran = 2'; document.body.append(s);`);
    await expect.poll(() => o.errors.length).toBeGreaterThanOrEqual(2);
    expect(await o.page.evaluate('window.ran')).toBeUndefined();
    expect(o.errors.every((e) => /Content Security Policy/.test(e))).toBe(true);
  });

  test('everything is reached and done by keyboard', async () => {
    const { page } = await open(await reported('keys', 300));
    const reached: string[] = [];
    for (let i = 0; i < 30; i++) {
      await page.keyboard.press('Tab');
      const e = (await page.evaluate(`(() => {
        const e = document.activeElement;
        return { name: e.id || e.getAttribute('aria-label') || e.tagName, outline: getComputedStyle(e).outlineStyle };
      })()`)) as { name: string; outline: string };
      reached.push(e.name);
      if (e.name !== 'BODY') expect(e.outline, e.name).not.toBe('none');
    }
    expect(reached).toEqual(
      expect.arrayContaining([
        'smoothing',
        'log',
        'all',
        ...Array.from({ length: 7 }, (_, i) => `chart-${i}`),
        'Confusion matrix',
        'Classes',
      ]),
    );
    const range = (chart: number) =>
      page.evaluate(`[report.charts[${chart}].plot.scales.x.min, report.charts[${chart}].plot.scales.x.max]`);
    await page.focus('#chart-2');
    await page.keyboard.press('+');
    expect(await range(2)).toEqual([75.75, 225.25]);
    expect(await range(0)).toEqual([75.75, 225.25]); // all zoom together
    await page.keyboard.press('ArrowRight');
    expect(await range(2)).toEqual([113.125, 262.625]);
    expect(await page.getAttribute('#chart-2', 'aria-label')).toMatch(/^Gradient norm, steps 113 to 263\. before clipping: last/);
    await page.keyboard.press('-');
    expect(await range(2)).toEqual([1, 300]);
    await page.keyboard.press('+');
    await page.keyboard.press('0');
    expect(await range(2)).toEqual([1, 300]);
    await page.focus('#log');
    await page.keyboard.press('Space');
    expect(await page.evaluate('report.charts[0].plot.scales.y.distr')).toBe(3);
    await page.focus('#smoothing');
    for (let i = 0; i < 5; i++) await page.keyboard.press('ArrowRight');
    expect(await page.textContent('#smoothing-value')).toBe('0.05');
    expect(await page.evaluate('report.charts[0].plot.series.length')).toBe(4); // raw, smoothed, validation
  });

  test('100,000 steps: whatever one asks for is there in less than 100 ms, and single steps come out', async () => {
    const o = await open(await reported('long', 100_000));
    const [steps, losses] = await drawn(o, 0);
    expect(steps.length).toBeLessThan(3000);
    expect(Math.max(...losses.map(Number))).toBe(Math.fround(lossAt(1))); // the first step, alone above 1
    const took = await responses(o.page, [
      ...[[1000, 90000], [40000, 60000], [50000, 50100], [1, 100000]].map(([from, to]) => `report.charts[0].zoom(${from} + i, ${to} - i)`),
      ...['report.charts[0].showAll()', `document.getElementById('all').click()`],
      `document.getElementById('log').click()`,
      `{ const e = document.getElementById('smoothing'); e.value = 0.5 + 0.1 * i; e.dispatchEvent(new Event('input')); }`,
    ]); // biome-ignore format: as one reads it
    for (const [what, time] of took) expect(time, what).toBeLessThan(/zoom|all/i.test(what) ? 100 : 250);
    await o.page.evaluate(
      `(() => { const e = document.getElementById('smoothing'); e.value = 0; e.dispatchEvent(new Event('input')); })()`,
    );
    if (await o.page.isChecked('#log')) await o.page.uncheck('#log');
    await o.page.evaluate('report.charts[0].showAll()');
    const box = (await o.page.locator('#chart-0 .u-over').boundingBox()) as {
      x: number;
      y: number;
      width: number;
      height: number;
    };
    await o.page.mouse.move(box.x + box.width * 0.5, box.y + 50);
    await o.page.mouse.down();
    await o.page.mouse.move(box.x + box.width * 0.5 + 10, box.y + 60, { steps: 3 });
    await o.page.mouse.up();
    await expect.poll(async () => (await drawn(o, 0))[0].length).toBeLessThan(2500);
    const [from, to] = (await o.page.evaluate('[report.charts[3].plot.scales.x.min, report.charts[3].plot.scales.x.max]')) as [
      number,
      number,
    ];
    expect(from).toBeGreaterThan(45_000);
    expect(to - from).toBeLessThan(4000);
    const [x, y] = await drawn(o, 0);
    const at = x.indexOf(Math.ceil(from) + 1);
    expect(y[at]).toBe(Math.fround(lossAt(x[at] as number)));
    await o.page.locator('#chart-0 .u-over').dblclick();
    await expect.poll(() => o.page.evaluate('report.charts[0].plot.scales.x.max')).toBe(100_000);
    expect(o.errors).toEqual([]);
  });

  test('in print it is light, without controls, with its charts', async () => {
    const { page } = await open(await reported('print', 40), { dark: true });
    await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
    expect(await page.locator('.controls').isVisible()).toBe(false);
    expect(await page.evaluate('getComputedStyle(document.documentElement).getPropertyValue("--bg").trim()')).toBe('#ffffff');
    expect(await poorContrasts(page)).toEqual([]);
    // The canvas is drawn anew in the light colours.
    await expect
      .poll(() =>
        page.evaluate(`(() => { const c = report.charts[0].plot.ctx; const d = c.getImageData(0, 0, c.canvas.width, c.canvas.height).data;
      for (let i = 0; i < d.length; i += 4) if (d[i] === 11 && d[i + 1] === 92 && d[i + 2] === 173) return true; return false; })()`),
      )
      .toBe(true);
    const pdf = await page.pdf({ format: 'A4' });
    expect(pdf.subarray(0, 5).toString()).toBe('%PDF-');
    expect(pdf.length).toBeGreaterThan(20_000);
  });
});
