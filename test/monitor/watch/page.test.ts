/** The live page in a real browser. */
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { readHistory } from '../../../lib/monitor/history.ts';
import { imagePng } from '../../../lib/monitor/png.ts';
import { type RunServer, type ServeOptions, serveRuns } from '../../../lib/monitor/watch/server.ts';
import { inBrowser, type Opened, open, poorContrasts, responses, withoutBrowser } from '../../helpers/browser.ts';
import { folder, text } from './helpers.ts';

const step = (n: number, more: object = {}) => ({
  ...{ attempt: 1, step: n, type: 'step', epoch: 0, loss: 4 / n, lr: 0.1, gradNorm: 1 + (n % 7), applied: true },
  ...{ samples: 8, samplesPerSecond: 100, memory: 2 ** 20, ...more },
});
const steps = (n: number, more: object = {}) => Array.from({ length: n }, (_, i) => step(i + 1, more));
const begin = [
  { attempt: 1, step: 0, type: 'attempt', time: 1 },
  { attempt: 1, step: 0, type: 'run', model: 'M', totalSteps: 400 },
];

async function watch(dir: string, options: ServeOptions = {}): Promise<Opened & { server: RunServer }> {
  const server = await serveRuns(dir, { port: 0, ...options });
  onTestFinished(() => server.close());
  return { ...(await open(server.url)), server };
}
/** Waits until it is so in the page, whose policy forbids it to look for itself. */
async function until({ page }: Opened, expression: string): Promise<void> {
  for (const end = performance.now() + 20_000; performance.now() < end; await delay(30))
    if (await page.evaluate(expression).catch(() => false)) return;
  throw new Error(`never: ${expression}`);
}
/** What uPlot draws in a chart. */
const drawn = ({ page }: Opened, title: string) =>
  page.evaluate(`page.drawn.get(${JSON.stringify(title)}).chart.plot.data.map((c) => [...c])`) as Promise<(number | null)[][]>;
const held = (title: string, curve: number, n: number) =>
  `page.drawn.get('${title}')?.chart.curves[${curve}]?.values.filter(Number.isFinite).length === ${n}`;

describe.skipIf(withoutBrowser)(inBrowser('the live page'), () => {
  test('draws the values, and those that arrive; two runs lie over each other; NaN is marked; nothing is loaded from elsewhere', async () => {
    const evaluation = (n: number) => ({ attempt: 1, step: n, type: 'eval', epoch: 0, 'val/loss': 8 / n, 'val/accuracy': 0.5 });
    const dir = folder({ a: [...begin, ...steps(20), evaluation(10), evaluation(20)], b: [...begin, ...steps(5, { loss: 2 })] });
    const opened = await watch(dir);
    const { page, errors, requests, server } = opened;
    await until(opened, held('Loss', 0, 20));
    await until(opened, held('Loss', 2, 5));
    const [x, loss, val, other] = await drawn(opened, 'Loss');
    expect(x).toEqual(steps(20).map((s) => s.step));
    expect(loss).toEqual(steps(20).map((s) => s.loss));
    expect(val).toEqual(x?.map((n) => ([10, 20].includes(n as number) ? 8 / (n as number) : null)));
    expect(other).toEqual(x?.map((n) => ((n as number) <= 5 ? 2 : null)));
    expect(await page.locator('#charts h3').allTextContents()).toEqual([
      ...['Loss', 'Accuracy', 'Learning rate', 'Gradient norm', 'Samples per second', 'Tensor memory'],
    ]);
    expect(await page.locator('#runs tbody tr').first().innerText()).toMatch(/a\s+over\s+20 of 400\s+0\.2000\s+0\.4000/);
    expect(await page.locator('#evals table').first().innerText()).toMatch(
      /step\s+val\/loss\s+val\/accuracy\s+20\s+0\.4000\s+0\.5000/,
    );

    appendFileSync(join(dir, 'a/metrics.jsonl'), text([step(21), step(22, { loss: Number.NaN }), step(23)]));
    await until(opened, held('Loss', 0, 22));
    expect((await drawn(opened, 'Loss'))[1]?.slice(-3)).toEqual([4 / 21, null, 4 / 23]);
    await until(opened, `document.querySelector('#charts .bad').textContent.includes('the first at step 22')`);

    await page.getByLabel('b', { exact: true }).uncheck();
    await until(opened, `page.drawn.get('Loss').chart.curves.length === 2`);
    // Resumed from step 21: the lost tail goes from the curve.
    appendFileSync(
      join(dir, 'a/metrics.jsonl'),
      text([{ attempt: 2, step: 21, type: 'attempt', time: 2 }, step(22, { attempt: 2, loss: 9 })]),
    );
    await until(opened, `page.drawn.get('Loss').chart.curves[0].values.at(-1) === 9`);
    expect((await drawn(opened, 'Loss'))[0]).toHaveLength(22);
    expect(errors).toEqual([]);
    expect(requests.filter((r) => !r.startsWith(`http://127.0.0.1:${server.port}/`))).toEqual([]);
  });

  test('a run of 100,000 steps: whatever one asks for is there in under 100 ms, spikes stay to be seen, and so for log scale and smoothing', async () => {
    const n = 100_000;
    const opened = await watch(
      folder({ long: [...begin, ...steps(n).map((s) => (s.step === 54_321 ? { ...s, loss: 77 } : s))] }),
    );
    const { page } = opened;
    await until(opened, held('Loss', 0, n));
    await until(
      opened,
      `page.drawn.size === 5 && page.waiting === undefined && page.drawn.get('Loss').chart.plot.data[0].length > 100`,
    );
    const all = await drawn(opened, 'Loss');
    expect(all[0]?.length).toBeLessThanOrEqual(4000);
    expect(Math.max(...(all[1] as number[]).slice(100))).toBe(77);
    const loss = `page.drawn.get('Loss').chart`;
    const took = await responses(page, [
      ...[[1000, 90_000], [50_000, 60_000], [54_000, 54_600], [1, n], [10, 50]].map(([from, to]) => `${loss}.zoom(${from} + i, ${to} - i)`),
      ...[`${loss}.showAll()`, `document.getElementById('all').click()`],
      ...[`page.change({ log: i % 2 === 0 })`, `page.change({ smoothing: 0.5 + 0.1 * i })`, `page.change({ log: false, smoothing: 0 })`],
      'page.show()',
    ]); // biome-ignore format: as one reads it
    for (const [what, time] of took) expect(time, what).toBeLessThan(/zoom|all/i.test(what) ? 100 : 250);
    await page.getByLabel('log scale').check();
    await page.locator('#smoothing').fill('0.9');
    await until(
      opened,
      `page.drawn.get('Loss').chart.plot.scales.y.distr === 3 && page.drawn.get('Loss').chart.lines.length === 2`,
    );
    expect(await page.evaluate(`page.drawn.get('Loss').chart.plot.data[0].at(-1)`)).toBeGreaterThanOrEqual(50);
  });

  test('mouse: drag zooms all charts, two clicks show all; keys: every control is reached, and charts zoom', async () => {
    const opened = await watch(folder({ a: [...begin, ...steps(200)] }));
    const { page } = opened;
    await until(opened, held('Loss', 0, 200));
    await until(opened, `page.drawn.size === 5 && page.waiting === undefined`);
    const range = (title: string) => page.evaluate(`page.drawn.get('${title}').chart.range`) as Promise<[number, number] | null>;
    const area = page.locator('#charts .u-over').first();
    await area.scrollIntoViewIfNeeded();
    const box = (await area.boundingBox()) as { x: number; y: number; width: number; height: number };
    await page.mouse.move(box.x + box.width * 0.25, box.y + 50);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.5, box.y + 60, { steps: 4 });
    await page.mouse.up();
    const [from, to] = (await range('Loss')) as [number, number];
    expect(from).toBeCloseTo(1 + 199 * 0.25, -1);
    expect(to).toBeCloseTo(1 + 199 * 0.5, -1);
    expect(await range('Gradient norm')).toEqual([from, to]);
    await area.dblclick();
    expect(await range('Loss')).toBeNull();

    await page.locator('.chart').first().focus();
    await page.keyboard.press('+');
    const [a, b] = (await range('Loss')) as [number, number];
    expect(b - a).toBeCloseTo(199 / 2, 5);
    await page.keyboard.press('0');
    expect(await range('Loss')).toBeNull();
    await page.locator('body').click({ position: { x: 1, y: 1 } });
    const reached = new Set<string>();
    for (let i = 0; i < 20; i++) {
      await page.keyboard.press('Tab');
      reached.add(
        (await page.evaluate(
          `(document.activeElement.id || document.activeElement.className || document.activeElement.type)`,
        )) as string,
      );
    }
    for (const name of ['skip', 'checkbox', 'smoothing', 'log', 'all', 'chart']) expect([...reached]).toContain(name);
    expect(await page.locator('.chart').first().getAttribute('aria-label')).toMatch(
      /^Loss, steps 1 to 200\. loss: last 0\.02000/,
    );
  });

  test('readable at 1280 and at 400 pixels, light and dark; what runs say is text', async () => {
    const hostile = '<img src=x onerror=alert(1)>';
    const finding = {
      type: 'finding',
      rule: 'r',
      severity: 'error',
      title: hostile,
      evidence: `<script>alert(2)</script>`,
      action: 'Stop.',
    };
    const control = { attempt: 1, step: 3, type: 'control', what: 'lr', lr: 1, by: hostile };
    const dir = folder({ [hostile]: [...begin, ...steps(3, { [hostile]: 1 }), { attempt: 1, step: 3, ...finding }, control] });
    const server = await serveRuns(dir, { port: 0 });
    onTestFinished(() => server.close());
    for (const dark of [false, true]) {
      const opened = await open(server.url, { dark });
      const { page, errors, resize } = opened;
      await until(opened, held('Loss', 0, 3));
      for (const width of [1280, 400]) {
        await resize(width);
        await until(opened, `page.drawn.get('Loss').chart.plot.width <= ${width}`);
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
        expect(await poorContrasts(page)).toEqual([]);
      }
      for (const place of ['#findings', '#journal', '#runs', '#charts'])
        expect(await page.locator(place).innerText()).toContain(hostile);
      expect(await page.locator('main img, main script').count()).toBe(0);
      expect(errors).toEqual([]);
    }
  });

  test('sample outputs: the last ones as they come, or those of a step that one chooses; texts are texts, pictures only those that came with the run', async () => {
    const hostile = '</pre><img src=x onerror=alert(1)>';
    const image = `data:image/png;base64,${imagePng({ data: Uint8Array.of(0, 255), shape: [1, 1, 2], bytes: true }).toString('base64')}`;
    const outputs = (attempt: number, step: number) => ({
      ...{ attempt, step, type: 'samples', epoch: 0 },
      samples: [
        { name: hostile, text: `${hostile} ${attempt} ${step}` },
        { name: 'digit', image },
        { name: 'elsewhere', image: 'https://example.com/x.png' },
      ],
    });
    const dir = folder({ a: [...begin, ...steps(20)], b: [...begin, ...steps(5)] });
    const path = join(dir, 'a/samples.jsonl');
    appendFileSync(path, text([outputs(1, 5), outputs(1, 10), outputs(1, 15)]));
    const opened = await watch(dir);
    const { page, errors, requests, server } = opened;
    const seen = (n: string) =>
      until(opened, `document.querySelector('#outputs pre')?.textContent === ${JSON.stringify(`${hostile} ${n}`)}`);
    await seen('1 15');
    expect(await page.locator('#outputs h4').allTextContents()).toEqual([hostile, 'digit', 'elsewhere']);
    expect(await page.evaluate(`[...document.querySelectorAll('#outputs img')].map((i) => [i.naturalWidth, i.alt])`)).toEqual([
      [2, 'digit, after step 15'],
    ]);
    appendFileSync(path, text([outputs(1, 20)]));
    await seen('1 20');
    await page.getByLabel('step of the outputs of a').selectOption('10');
    await seen('1 10');
    // Resumed from step 12: what came later is made again; what one looks at stays.
    appendFileSync(path, text([{ attempt: 2, step: 12, type: 'attempt', time: 2 }, outputs(2, 15)]));
    await until(opened, `document.querySelectorAll('#outputs option').length === 3`);
    expect(await page.locator('#outputs option').allTextContents()).toEqual(['15', '10', '5']);
    await seen('1 10');
    await page.getByLabel('step of the outputs of a').selectOption('15');
    await seen('2 15');
    expect(await poorContrasts(page)).toEqual([]);
    await page.getByLabel('a', { exact: true }).uncheck();
    await until(opened, `document.getElementById('samples').hidden`);
    expect(errors).toEqual([]);
    expect(requests.filter((r) => !r.startsWith(`http://127.0.0.1:${server.port}/`) && !r.startsWith('data:image/png'))).toEqual(
      [],
    );
  });

  test('with a token the address bar forgets it, and the page goes on by its cookie; cut off, it comes back by itself', async () => {
    const dir = folder({ a: [...begin, ...steps(3)] });
    const first = await serveRuns(dir, { port: 0, token: 'a-token-of-the-test' });
    const opened = await open(first.url);
    const { page } = opened;
    await until(opened, held('Loss', 0, 3));
    expect(page.url()).toBe(`http://127.0.0.1:${first.port}/`);
    await page.reload();
    await until(opened, held('Loss', 0, 3));
    await first.close();
    await until(opened, `document.getElementById('state').textContent.startsWith('The connection is lost')`);
    appendFileSync(join(dir, 'a/metrics.jsonl'), text([step(4)]));
    const second = await serveRuns(dir, { port: first.port, token: 'a-token-of-the-test' });
    onTestFinished(() => second.close());
    await until(opened, held('Loss', 0, 4));
    expect(await page.locator('#state').textContent()).toBe('Live.');
  });

  test('a training in another process: its steps arrive, buttons steer it; killed, its page still works', async () => {
    const dir = join(folder({}), 'tiny');
    const child = fileURLToPath(new URL('../../train/live-control-child.ts', import.meta.url));
    const training: ChildProcess = spawn(process.execPath, ['--import', 'tsx', child, dir], { stdio: 'ignore' });
    onTestFinished(() => void training.kill('SIGKILL'));
    const opened = await watch(join(dir, '..'));
    const { page } = opened;
    await until(
      opened,
      `document.querySelector('#runs tbody td')?.textContent === 'training' && !document.getElementById('lr').disabled`,
    );
    const answered = async (click: () => Promise<void>, said: RegExp) => {
      await click();
      await until(opened, `${said}.test(document.getElementById('answer').textContent)`);
    };
    await answered(() => page.getByRole('button', { name: 'Set lr' }).click(), /lr must be a number/);
    await page.locator('#lr').fill('2e-3');
    await answered(() => page.getByRole('button', { name: 'Set lr' }).click(), /^applied at step \d+$/);
    await until(opened, `page.drawn.get('Learning rate').chart.curves[0].values.at(-1) === 0.002`);
    await until(opened, `/lr 0.002, asked by .*live page/.test(document.getElementById('journal').textContent)`);
    await answered(() => page.getByRole('button', { name: 'Evaluate now' }).click(), /^applied at step \d+$/);
    await until(opened, `document.querySelector('#evals td')`);
    training.kill('SIGKILL');
    await until(opened, `document.querySelector('#runs tbody td').textContent === 'killed'`);
    await until(opened, `document.getElementById('lr').disabled`);
    const { records } = await readHistory(join(dir, 'metrics.jsonl'));
    const all = records.filter((r) => r.type === 'step').length;
    await page.reload();
    await until(opened, held('Loss', 0, all));
  });
});
