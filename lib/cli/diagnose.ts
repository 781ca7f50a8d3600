/** What is wrong with a run, by its history. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Finding, diagnose as findingsOf, formatRecord, readHistory } from '../monitor/index.ts';
import { DataError } from '../native/errors.ts';

/** A run's history: the file itself, or the one in the run's folder. */
function historyOf(run: string): string {
  if (!existsSync(run)) throw new DataError(`diagnose: there is no ${run}. Give a run's folder, or its metrics.jsonl.`);
  if (!statSync(run).isDirectory()) return run;
  const path = join(run, 'metrics.jsonl');
  if (!existsSync(path))
    throw new DataError(`diagnose: ${run} holds no metrics.jsonl. A Trainer writes one where it is given dir: '${run}'.`);
  return path;
}

/** Control characters of a history that someone else wrote do nothing in a terminal. */
const plain = (text: string): string => text.replace(/[\p{Cc}\p{Cf}]/gu, ' ');

const told = ({ severity, title, since, evidence, action, docs, sampleIds }: Finding): string => {
  const ids = sampleIds?.slice(0, 16).join(', ');
  const more = sampleIds && sampleIds.length > 16 ? `, ... (${sampleIds.length} in all)` : '';
  return [
    `${severity.padEnd(8)} ${title}, from step ${since}`,
    `         ${plain(evidence)}`,
    ...(ids ? [`         samples ${ids}${more}`] : []),
    `         ${action}`,
    `         ${docs}`,
  ].join('\n');
};

/** `anneal diagnose`. Returns the exit code: 1 where something is an error, as linters have it. */
export async function diagnose(run: string, { json }: { json?: boolean }): Promise<number> {
  const path = historyOf(run);
  const { records, damaged } = await readHistory(path);
  const findings = findingsOf(records);
  const steps = records.filter((r) => r.type === 'step');
  if (json) console.log(formatRecord({ steps: steps.length, damaged: damaged.length, findings } as never));
  else {
    const lines = damaged.length ? `, ${damaged.length} lines could not be read` : '';
    console.log(`${path}: ${steps.length} steps${lines}`);
    if (steps.length === 0) console.log('No steps are recorded, so nothing can be said.');
    else if (findings.length === 0) console.log('Nothing is wrong by the rules of docs/diagnosis.md.');
    for (const finding of findings) console.log(`\n${told(finding)}`);
  }
  return findings.some((f) => f.severity === 'error') ? 1 : 0;
}
