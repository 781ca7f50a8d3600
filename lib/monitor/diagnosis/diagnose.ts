import { ConfigError, describe } from '../../native/errors.ts';
import { type HistoryRecord, supersede } from '../history.ts';
import { bySeverity, type Finding } from './finding.ts';
import { rules } from './rules/index.ts';
import { RunView } from './view.ts';

/**
 * What is wrong with a run, by its records: at most one finding of each rule, the gravest first. A healthy run gives none. Lost tails of resumed runs are
 * passed over; records of other kinds, and figures that are missing or no numbers, are ignored.
 * @param records as `readHistory` gives them, or as a sink received them
 * @throws ConfigError where this is no array of records
 */
export function diagnose(records: readonly HistoryRecord[]): Finding[] {
  if (!Array.isArray(records) || records.some((r) => typeof r !== 'object' || r === null))
    throw new ConfigError(
      `diagnose: expected an array of records, as (await monitor.readHistory(path)).records, got ${describe(records)}`,
    );
  const run = new RunView(supersede(records));
  const found = new Map<string, Finding>();
  for (const { name, find } of rules) {
    const finding = find(run);
    if (finding) found.set(name, { rule: name, ...finding, docs: `docs/diagnosis.md#${name}` });
  }
  const told = rules.filter(({ name, unless = [] }) => found.has(name) && !unless.some((other) => found.has(other)));
  return told.map(({ name }) => found.get(name) as Finding).sort(bySeverity);
}
