import { join } from 'node:path';
import { type HistoryRecord, parseRecord } from '../history.ts';
import { type SampleOutputs, sampleOutputs, samplesFile } from '../samples.ts';
import { FileTail } from './tail.ts';

/** Times kept, and bytes of them where there is more than one. */
const [keptTimes, keptBytes] = [20, 8 << 20];

/** The latest sample outputs of a run, as its samples.jsonl grows. */
export class LiveSamples {
  readonly #tail: FileTail;
  #kept: { outputs: SampleOutputs; bytes: number }[] = [];

  constructor(dir: string) {
    this.#tail = new FileTail(join(dir, samplesFile));
  }

  /** Takes up what is new; tells whether anything was, and whether there is more at once. */
  async poll(): Promise<{ changed: boolean; more: boolean }> {
    const news = await this.#tail.read();
    if (news?.anew) this.#kept = [];
    for (const line of news?.lines ?? []) this.#take(line);
    return { changed: news !== undefined, more: news?.more ?? false };
  }

  #take(line: string): void {
    let record: HistoryRecord;
    try {
      record = parseRecord(line);
    } catch {
      return; // the log's own damage is told; a line cut short here is made again
    }
    if (record.type === 'attempt') this.#kept = this.#kept.filter((k) => k.outputs.step <= record.step);
    const outputs = sampleOutputs(record);
    if (!outputs) return;
    this.#kept.push({ outputs, bytes: line.length });
    const all = () => this.#kept.reduce((sum, k) => sum + k.bytes, 0);
    while (this.#kept.length > keptTimes || (this.#kept.length > 1 && all() > keptBytes)) this.#kept.shift();
  }

  /** Names of what there is, in order: attempt and step, so that what is made again has another. */
  get keys(): string[] {
    return this.#kept.map(({ outputs: { attempt, step } }) => `${attempt}.${step}`);
  }
  get(key: string | null): SampleOutputs | undefined {
    return this.#kept.find(({ outputs: { attempt, step } }) => `${attempt}.${step}` === key)?.outputs;
  }
}
