/** Pages in a real browser without a window: Debian's chromium, or what ANNEAL_CHROMIUM names. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Browser, Page } from 'playwright-core';
import { afterAll } from 'vitest';

function find(): string | undefined {
  const named = process.env.ANNEAL_CHROMIUM;
  if (named) return named;
  for (const name of ['chromium', 'chromium-browser', 'google-chrome'])
    try {
      const path = execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
      if (existsSync(path)) return path;
    } catch {
      // the next name
    }
  return undefined;
}
export const chromium = find();

/** Set-up installs it where it can, and says so where it cannot: then these tests are skipped, by name. */
export const withoutBrowser = chromium === undefined;
export const inBrowser = (name: string): string => `${name} (in Chromium; skipped where it is not installed)`;

let browser: Promise<Browser> | undefined;
afterAll(async () => {
  await (await browser?.catch(() => undefined))?.close();
});

export interface OpenOptions {
  width?: number;
  height?: number;
  dark?: boolean;
}
export interface Opened {
  page: Page;
  /** Every request that was made, the page itself included. */
  requests: string[];
  /** What went wrong in the page: exceptions, errors of the console, dialogs. */
  errors: string[];
  /** Resizes, so that several widths need one page only. */
  resize(width: number): Promise<void>;
}

/** Opens an address in a context of its own. One browser serves a test file. */
export async function open(url: string, { width = 1280, height = 900, dark = false }: OpenOptions = {}): Promise<Opened> {
  const { chromium: launcher } = await import('playwright-core');
  if (!chromium) throw new Error('there is no Chromium: apt-get install chromium');
  browser ??= launcher.launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
  const context = await (await browser).newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light' });
  const page = await context.newPage();
  const [requests, errors]: [string[], string[]] = [[], []];
  page.on('request', (r) => requests.push(r.url()));
  page.on('pageerror', (e) => errors.push(String(e)));
  page.on('console', (m) => m.type() === 'error' && errors.push(m.text()));
  page.on('dialog', (d) => {
    errors.push(`dialog: ${d.message()}`);
    void d.dismiss();
  });
  await page.goto(url);
  return { page, requests, errors, resize: (w) => page.setViewportSize({ width: w, height }) };
}

/**
 * Milliseconds from each of these actions in a page, a line of code each in which `i` counts, to the frame after the one in which its outcome is drawn. The
 * quickest of four: others use this machine too.
 */
export const responses = (page: Page, actions: readonly string[]): Promise<[string, number][]> =>
  page.evaluate(`(async () => {
    const took = [];
    const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    const actions = { ${actions.map((code, at) => `${at}: (i) => { ${code}; }`).join(', ')} };
    const names = ${JSON.stringify(actions)};
    for (const [at, name] of names.entries()) {
      const times = [];
      for (let i = 0; i < 4; i++) {
        await frame();
        const begun = performance.now();
        actions[at](i);
        await frame();
        times.push(performance.now() - begun);
      }
      took.push([name, Math.min(...times)]);
    }
    return took;
  })()`) as Promise<[string, number][]>;

/**
 * Texts of the page whose contrast with what is behind them is below WCAG's AA: 4.5, or 3 for large ones (24 px, or bold 18.7 px). What is behind is the
 * nearest opaque background, under the translucent ones in between.
 */
export const poorContrasts = (page: Page): Promise<{ text: string; ratio: number }[]> =>
  page.evaluate(`(${contrasts.toString()})()`) as Promise<{ text: string; ratio: number }[]>;

/* In the page: no name of this module is there, and types are the browser's. */
function contrasts(): { text: string; ratio: number }[] {
  // biome-ignore lint/suspicious/noExplicitAny: the browser's globals, of which this project has no types
  const { document, getComputedStyle, NodeFilter } = globalThis as any;
  const parse = (color: string): number[] => {
    const [r = 0, g = 0, b = 0, a = 1] = (color.match(/[\d.]+/g) ?? []).map(Number);
    return [r, g, b, a];
  };
  const over = (top: number[], below: number[]) =>
    [0, 1, 2].map((i) => (top[i] as number) * (top[3] as number) + (below[i] as number) * (1 - (top[3] as number)));
  const luminance = (rgb: number[]) =>
    [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
      const c = (rgb[i] as number) / 255;
      return sum + weight * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    }, 0);
  // biome-ignore lint/suspicious/noExplicitAny: an element
  const behind = (e: any): number[] => {
    const layers: number[][] = [];
    for (let at = e; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if ((color[3] as number) > 0) layers.push(color);
      if (color[3] === 1) break;
    }
    return layers.reduceRight((below, top) => [...over(top, below), 1], [255, 255, 255, 1]);
  };
  const poor: { text: string; ratio: number }[] = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (!text || !element.checkVisibility() || ['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    const front = over(parse(element.namespaceURI.endsWith('svg') ? style.fill : style.color), back);
    const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a) as [number, number];
    const ratio = (light + 0.05) / (dark + 0.05);
    const size = Number.parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) poor.push({ text: text.slice(0, 40), ratio });
  }
  return poor;
}
