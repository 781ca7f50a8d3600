// How often the rules are right on runs whose illness is known.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { diagnose, type HistoryRecord, parseRecord } from '../../../lib/monitor/index.ts';
import type { Spec } from './runs.ts';

/** The records of each run of a set, as `generate.ts` wrote them. */
export function recorded(which: string): Map<string, HistoryRecord[]> {
  const text = gunzipSync(readFileSync(new URL(`runs-${which}.jsonl.gz`, import.meta.url))).toString();
  const runs = new Map<string, HistoryRecord[]>();
  for (const line of text.trim().split('\n')) {
    const record = parseRecord(line);
    const id = String(record.run);
    const known = runs.get(id);
    if (known) known.push(record);
    else runs.set(id, [record]);
  }
  return runs;
}

export interface Score {
  /** Runs that have the illness, those found, and findings that are wrong. */
  ill: number;
  found: number;
  wrong: number;
}
export interface Judgement {
  rules: Map<string, Score>;
  precision: number;
  recall: number;
  /** What is missing or wrong, for eyes. */
  faults: string[];
}

export function judge(specs: readonly Spec[], runs: ReadonlyMap<string, readonly HistoryRecord[]>): Judgement {
  const rules = new Map<string, Score>();
  const score = (rule: string) => {
    const known = rules.get(rule) ?? { ill: 0, found: 0, wrong: 0 };
    rules.set(rule, known);
    return known;
  };
  const faults: string[] = [];
  for (const { id, task, ills, mayTell = [] } of specs) {
    const found = diagnose(runs.get(id) ?? []);
    for (const ill of ills) {
      score(ill).ill++;
      if (found.some((f) => f.rule === ill)) score(ill).found++;
      else faults.push(`${id} (${task}): no ${ill}`);
    }
    for (const f of found) {
      if (ills.includes(f.rule) || mayTell.includes(f.rule)) continue;
      score(f.rule).wrong++;
      faults.push(`${id} (${task}): wrongly ${f.rule}: ${f.evidence}`);
    }
  }
  const sum = (of: keyof Score) => [...rules.values()].reduce((a, s) => a + s[of], 0);
  const [ill, right, wrong] = [sum('ill'), sum('found'), sum('wrong')];
  return { rules, precision: right / (right + wrong), recall: right / ill, faults };
}
