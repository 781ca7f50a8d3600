import { join } from 'node:path';
import { lifeOf, listenerOf, type RunLife } from '../control/ask.ts';
import { History, type HistoryRecord, parseRecord } from '../history.ts';
import { LiveSamples } from './live-samples.ts';
import { FileTail } from './tail.ts';

/** Lines kept of what is shown as lists. */
const keptLines = 200;
/** Metrics of a run: a file with more distinct names than any run has is not a reason to run out of memory. */
const maxMetrics = 256;
const maxFindings = 64;

/** A run as the page is told of it; its curves are asked for (`values`). */
export interface RunState {
  id: string;
  /** Changes where values that were told are so no more: a resumed run did its tail again, or the file is another. */
  generation: string;
  life: RunLife;
  /** Does it take wishes from its folder? */
  steerable: boolean;
  attempt: number;
  step: number;
  totalSteps: number | null;
  about: Record<string, string | number>;
  /** Why it ended, where it did. */
  stopReason: string | null;
  /** Lengths of its curves by metric. */
  lengths: Record<string, number>;
  /** Last values; what JSON lacks by name. */
  last: Record<string, number | string>;
  findings: HistoryRecord[];
  /** Evaluations, and what was asked of the run or done unasked. */
  evals: HistoryRecord[];
  journal: HistoryRecord[];
  /** Sample outputs that there are, by attempt and step; they are asked for. */
  samples: string[];
  skipped: number;
  damaged: number;
}

const finite = (v: number): number | string => (Number.isFinite(v) ? v : String(v));

/** The changes that a server has seen, in all its runs. */
export interface Changes {
  /** Tells one server's numbers from another's. */
  readonly instance: string;
  count: number;
}

/** Follows the history of one run. */
export class LiveRun {
  readonly id: string;
  readonly dir: string;
  /** Number of its last change, among the changes of all runs of this server. */
  revision: number;
  #history = new History();
  #generation = 0;
  readonly #server: Changes;
  readonly #tail: FileTail;
  readonly samples: LiveSamples;
  #records: HistoryRecord[] = [];
  #findings = new Map<string, HistoryRecord>();
  #about: Record<string, string | number> = {};
  #totalSteps: number | null = null;
  #attempt = 0;
  #step = 0;
  #stopReason: string | null = null;
  #life: RunLife = 'over';
  #steerable = false;
  #skippedSteps: number[] = [];
  #damaged = 0;

  constructor(id: string, dir: string, server: Changes) {
    this.id = id;
    this.dir = dir;
    this.#server = server;
    this.revision = ++server.count;
    this.#tail = new FileTail(join(dir, 'metrics.jsonl'));
    this.samples = new LiveSamples(dir);
  }

  get generation(): string {
    return `${this.#server.instance}.${this.#generation}`;
  }
  get history(): History {
    return this.#history;
  }

  /** Takes up what is new; true if there is more at once. */
  async poll(): Promise<boolean> {
    const news = await this.#tail.read();
    if (news?.anew) this.#reset();
    for (const line of news?.lines ?? []) this.#take(line);
    const made = await this.samples.poll();
    const life = await lifeOf(this.dir);
    const steerable = life === 'listening' && (await listenerOf(this.dir)) !== undefined;
    if (news || made.changed || life !== this.#life || steerable !== this.#steerable) this.revision = ++this.#server.count;
    this.#life = life;
    this.#steerable = steerable;
    return made.more || (news?.more ?? false);
  }

  #reset(): void {
    this.#history = new History();
    this.#generation++;
    this.#records = [];
    this.#findings.clear();
    this.#about = {};
    this.#totalSteps = null;
    this.#attempt = 0;
    this.#step = 0;
    this.#stopReason = null;
    this.#skippedSteps = [];
    this.#damaged = 0;
  }

  #take(line: string): void {
    let record: HistoryRecord;
    try {
      record = parseRecord(line);
    } catch {
      this.#damaged++;
      return;
    }
    const { type, step, attempt } = record;
    if (type === 'attempt') this.#goOn(attempt, step);
    else if (attempt !== this.#attempt) this.#goOn(attempt, type === 'step' ? step - 1 : step);
    if (type === 'step') {
      this.#step = step;
      if (record.applied === false) this.#skippedSteps.push(step);
    }
    if (type === 'step' || type === 'eval') this.#keepFigures(record);
    if (type === 'run') this.#introduce(record);
    if (type === 'end') this.#stopReason = String(record.stopReason ?? 'ended');
    if (type === 'finding') this.#find(record);
    if (type === 'eval' || type === 'control' || type === 'notice') {
      this.#records.push(record);
      if (this.#records.length > 4 * keptLines) this.#records.splice(0, 2 * keptLines);
    }
  }

  /** An attempt begins after step `from`: what was told of later steps counts no more. */
  #goOn(attempt: number, from: number): void {
    this.#attempt = attempt;
    this.#stopReason = null;
    const later = (r: HistoryRecord) => r.step > from;
    if (this.#step > from || this.#records.some(later)) this.#generation++;
    this.#history.begin(attempt, from);
    this.#records = this.#records.filter((r) => !later(r));
    for (const [rule, finding] of this.#findings) if (later(finding)) this.#findings.delete(rule);
    this.#skippedSteps = this.#skippedSteps.filter((s) => s <= from);
    this.#step = Math.min(this.#step, from);
  }

  #keepFigures(record: HistoryRecord): void {
    if (this.#history.names.length < maxMetrics) this.#history.write(record);
  }

  #introduce(record: HistoryRecord): void {
    const { totalSteps } = record;
    this.#totalSteps = typeof totalSteps === 'number' && totalSteps > 0 ? totalSteps : null;
    for (const name of ['model', 'optimizer', 'precision', 'parameters', 'trainSamples']) {
      const value = record[name];
      if (typeof value === 'number') this.#about[name] = value;
      else if (typeof value === 'string') this.#about[name] = value.slice(0, 200);
    }
  }

  #find(record: HistoryRecord): void {
    const rule = String(record.rule ?? record.title);
    if (record.resolved === true) this.#findings.delete(rule);
    else if (this.#findings.has(rule) || this.#findings.size < maxFindings) this.#findings.set(rule, record);
  }

  get state(): RunState {
    const names = this.#history.names;
    const plain = (r: HistoryRecord): HistoryRecord =>
      Object.fromEntries(
        Object.entries(r).map(([k, v]) => [k, typeof v === 'number' ? finite(v) : typeof v === 'string' ? v.slice(0, 2000) : v]),
      ) as HistoryRecord;
    const of = (...types: string[]) =>
      this.#records
        .filter((r) => types.includes(r.type))
        .slice(-keptLines)
        .map(plain);
    return {
      ...{ id: this.id, generation: this.generation, life: this.#life, steerable: this.#steerable },
      ...{
        attempt: this.#attempt,
        step: this.#step,
        totalSteps: this.#totalSteps,
        about: this.#about,
        stopReason: this.#stopReason,
      },
      lengths: Object.fromEntries(names.map((n) => [n, this.#history.series(n).steps.length])),
      last: Object.fromEntries(names.map((n) => [n, finite(this.#history.last(n) ?? Number.NaN)])),
      findings: [...this.#findings.values()].map(plain),
      evals: of('eval').slice(-20),
      journal: of('control', 'notice').slice(-30),
      samples: this.samples.keys,
      ...{ skipped: this.#skippedSteps.length, damaged: this.#damaged },
    };
  }

  /** A curve from place `from` on, at most `most` of it: its length, steps, values, as the page's script reads them. */
  values(name: string, from: number, most: number): Float64Array {
    const { steps, values } = this.#history.series(name);
    const to = Math.min(steps.length, from + most);
    const n = Math.max(0, to - from);
    const out = new Float64Array(1 + 2 * n);
    out[0] = n;
    for (let i = 0; i < n; i++) {
      out[1 + i] = steps[from + i] as number;
      out[1 + n + i] = values[from + i] as number;
    }
    return out;
  }
}
