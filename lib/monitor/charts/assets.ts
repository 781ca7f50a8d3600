// What stands in a page of charts: uPlot, the script that draws with it, and the rule that lets nothing else run.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { DataError } from '../../native/errors.ts';
import { Markup } from './html.ts';
import { chartStyle } from './style.ts';

/** A script of lib/monitor, or its copy in dist (scripts/build-dist.mjs), as text. */
export function pageScript(source: string, bundled: string, base: string): string {
  const places = [bundled, source].map((p) => fileURLToPath(new URL(`./${p}`, base)));
  const found = places.find((p) => existsSync(p));
  if (found === undefined)
    throw new DataError(`the page's script is missing (looked for ${places.join(', ')}). Install anneal again.`);
  return readFileSync(found, 'utf8');
}

/** A module without imports as a script whose exports are the properties of a global. */
export function asGlobal(name: string, module: string): string {
  const names = [...module.matchAll(/^export (?:async )?(?:function|const|class) (\w+)/gm)].map((m) => m[1] as string);
  return `const ${name} = (() => {\n${module.replace(/^export /gm, '')}\nreturn { ${names.join(', ')} };\n})();`;
}

export interface ChartAssets {
  /** uPlot, then `charts` with the exports of page.mjs. */
  scripts: readonly string[];
  /** uPlot's own style and the pages'. */
  style: string;
}

let assets: ChartAssets | undefined;

/** Read from the packages once. */
export function chartAssets(): ChartAssets {
  if (assets) return assets;
  const from = createRequire(import.meta.url);
  const read = (file: string) => readFileSync(from.resolve(`uplot/dist/${file}`), 'utf8');
  const own = asGlobal('charts', pageScript('page.mjs', 'charts-page.mjs', import.meta.url));
  assets = { scripts: [read('uPlot.iife.min.js'), own], style: `${read('uPlot.min.css')}\n${chartStyle}` };
  return assets;
}

const sha256 = (text: string): string => `'sha256-${createHash('sha256').update(text, 'utf8').digest('base64')}'`;

/** A Content-Security-Policy under which these scripts and this style are all that the page runs, and images in it come with it. */
export function contentPolicy(scripts: readonly string[], style: string, more = ''): string {
  const only = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:";
  return `${only}; script-src ${scripts.map(sha256).join(' ')}; style-src ${sha256(style)}${more}`;
}

/** A script in a page. `</script` and `<!--` in it would end it: they are written another way, which is the same in strings and regular expressions. */
export function inlineScript(text: string): Markup {
  return new Markup(`<script>${scriptText(text)}</script>`);
}
/** The text as `inlineScript` writes it, which is what the policy's hash is of. */
export const scriptText = (text: string): string => text.replace(/<(\/script|!--)/gi, '\\x3c$1');
