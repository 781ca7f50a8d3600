/** Folders of runs for the live page. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { formatRecord } from '../../../lib/monitor/history.ts';

/** Records as a history file has them. */
export const text = (records: object[]): string => records.map((r) => `${formatRecord(r as never)}\n`).join('');

/** A folder of runs by name, until the test is over. */
export function folder(runs: Record<string, object[]> = {}): string {
  const dir = mkdtempSync(join(tmpdir(), 'anneal-watch-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  for (const [name, records] of Object.entries(runs)) {
    mkdirSync(join(dir, name), { recursive: true });
    writeFileSync(join(dir, name, 'metrics.jsonl'), text(records));
  }
  return dir;
}
