import { StepSpikes } from '../monitor/diagnosis/spikes.ts';
import { diagnose, type Finding, type HistoryRecord, type HistoryValue } from '../monitor/index.ts';
import type { TrainEvent } from './events.ts';

type Told = Omit<HistoryRecord, 'attempt'>;

/** Step records that are kept: the first, which tell where the run began, and the latest. Others are kept so many of each type. */
const [firstSteps, lastSteps, lastOthers] = [256, 512, 256];
/** Steps between two looks, and this share of the steps done where that is more: a look takes as long as some steps of a small model. */
const [every, share] = [100, 1 / 8];
/** After an evaluation, or a step that was skipped, one need not wait so long. */
const soon = 50;

/** Who hears of findings. */
export interface Listener {
  /** A sentence for people. */
  log(line: string): void;
  event(event: TrainEvent): void;
  /** To the history; what is written so is not judged again. */
  write(record: Told): void;
}

/** A finding as a record: plain JSON. */
const findingRecord = (finding: Finding, step: number): Told =>
  ({ type: 'finding', step, ...finding }) as unknown as { [name: string]: HistoryValue } & Told;

/** Judges a run while it goes on, by the latest of its records; each rule speaks once. */
export class LiveDiagnosis {
  readonly #spikes = new StepSpikes();
  readonly #first: HistoryRecord[] = [];
  #steps: HistoryRecord[] = [];
  readonly #others = new Map<string, HistoryRecord[]>();
  readonly #told = new Map<string, string>();
  readonly #enabled: boolean;
  readonly #to: Listener;
  #since = 0;
  #step = 0;

  constructor(enabled: boolean, to: Listener) {
    this.#enabled = enabled;
    this.#to = to;
  }

  /** The step's record, with its samples where loss or gradient norm spike. */
  marked(record: Told, sampleIds: Int32Array): Told {
    const spike = this.#spikes.see(record.loss as number, record.gradNorm as number);
    if (!spike) return record;
    return { ...record, spike, ...(sampleIds.length && !('sampleIds' in record) ? { sampleIds: [...sampleIds] } : {}) } as Told;
  }

  /** Takes up what an earlier attempt recorded: what it told is not told again. */
  load(records: readonly HistoryRecord[]): void {
    for (const r of records) {
      if (r.type === 'finding') this.#told.set(String(r.rule), String(r.evidence));
      else this.#keep(r);
      if (r.type === 'step') this.#spikes.see(r.loss as number, r.gradNorm as number);
    }
  }

  take(told: Told): void {
    if (!this.#enabled) return;
    const record = { attempt: 0, ...told } as HistoryRecord;
    this.#step = record.step;
    this.#keep(record);
    if (record.type === 'step') this.#since++;
    const news = record.type === 'eval' || record.applied === false;
    const wait = Math.max(news ? soon : every, share * record.step);
    if (record.type === 'anomaly' || this.#since >= wait) this.#look();
  }

  /** At the end: what was told and has changed is written as it is now, what is so no more as resolved. */
  conclude(): void {
    if (!this.#enabled) return;
    const before = new Map(this.#told);
    const now = this.#look();
    for (const f of now)
      if (before.has(f.rule) && before.get(f.rule) !== f.evidence)
        this.#to.write({ ...findingRecord(f, this.#step), final: true });
    for (const rule of before.keys())
      if (!now.some((f) => f.rule === rule)) this.#to.write({ type: 'finding', step: this.#step, rule, resolved: true });
  }

  #keep(record: HistoryRecord): void {
    if (record.type === 'step') {
      if (this.#first.length < firstSteps) this.#first.push(record);
      else this.#steps.push(record);
      if (this.#steps.length > 2 * lastSteps) this.#steps = this.#steps.slice(-lastSteps);
      return;
    }
    const { type } = record;
    if (type === 'finding' || type === 'notice') return;
    const kept = this.#others.get(type) ?? [];
    this.#others.set(type, kept);
    kept.push(record);
    if (kept.length > 2 * lastOthers) kept.splice(0, kept.length - lastOthers);
  }

  #tell(finding: Finding): void {
    const { severity, title, evidence, action } = finding;
    this.#to.log(`${severity}: ${title}: ${evidence}. ${action}`);
    this.#to.event({ type: 'finding', step: this.#step, finding });
    this.#to.write(findingRecord(finding, this.#step));
  }

  #look(): Finding[] {
    this.#since = 0;
    const found = diagnose([...[...this.#others.values()].flat(), ...this.#first, ...this.#steps]);
    for (const finding of found) {
      const { rule, evidence } = finding;
      if (!this.#told.has(rule)) this.#tell(finding);
      this.#told.set(rule, evidence);
    }
    return found;
  }
}
