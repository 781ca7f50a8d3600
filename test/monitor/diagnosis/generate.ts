// Trains the runs and writes their records, compact: `npx tsx test/monitor/diagnosis/generate.ts set|second|held`; only the last is kept in the repository.
import { writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { device } from '../../../lib/index.ts';
import { formatRecord, type HistoryRecord } from '../../../lib/monitor/index.ts';
import { train } from './runs.ts';
import { sets } from './specs.ts';

/** What no rule looks at, and digits that none needs. */
const dropped = new Set([
  'attempt',
  'memory',
  'peakMemory',
  'samples',
  'samplesPerSecond',
  'epoch',
  'time',
  'configuration',
  'environment',
]);
const times = new Set(['seconds', 'dataSeconds', 'deviceSeconds']);
function rounded(v: unknown, digits: number): unknown {
  if (typeof v === 'number') return Number.isInteger(v) ? v : Number(v.toPrecision(digits));
  if (Array.isArray(v)) return v.map((x) => rounded(x, digits));
  if (v === null || typeof v !== 'object') return v;
  return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, rounded(x, digits)]));
}
function compact(r: HistoryRecord): HistoryRecord {
  const kept = Object.entries(r).filter(([k, v]) => !dropped.has(k) && !(k === 'clippedGradNorm' && v === r.gradNorm));
  return { attempt: 1, ...Object.fromEntries(kept.map(([k, v]) => [k, rounded(v, times.has(k) ? 2 : 3)])) } as HistoryRecord;
}

const which = process.argv[2] as keyof typeof sets;
device('cpu').threads = 1;
const lines: string[] = [];
const began = performance.now();
for (const spec of sets[which]) {
  const records = await train(spec);
  lines.push(...records.map((r) => formatRecord({ ...compact(r), run: spec.id })));
}
const at = new URL(`runs-${which}.jsonl.gz`, import.meta.url);
const zipped = gzipSync(`${lines.join('\n')}\n`, { level: 9 });
writeFileSync(at, zipped);
console.log(`${lines.length} records, ${zipped.length} bytes, ${((performance.now() - began) / 1000).toFixed(1)} s`);
