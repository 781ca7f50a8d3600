import type { ServerResponse } from 'node:http';
import type { Runs } from './runs.ts';

const maxStreams = 32;
/** Milliseconds between two messages to one page, and between beats that show both ends the connection lives. */
const tellEvery = 200;
const beatEvery = 15_000;

/**
 * Server-sent events: `runs` has the ids of all runs, `run` the state of one that changed. A page that was cut off says with Last-Event-ID what it has seen
 * and is told of what changed since. A page that reads slowly is told less often, always of the latest state: nothing is queued for it.
 */
export class EventStreams {
  readonly #runs: Runs;
  readonly #streams = new Set<() => void>();

  constructor(runs: Runs) {
    this.#runs = runs;
  }

  get free(): boolean {
    return this.#streams.size < maxStreams;
  }

  add(response: ServerResponse, lastEventId: string | string[] | undefined): void {
    const stream = new Stream(this.#runs, response, lastEventId);
    const end = () => {
      if (!this.#streams.delete(end)) return;
      stream.end();
    };
    this.#streams.add(end);
    response.on('close', end);
  }

  close(): void {
    for (const end of [...this.#streams]) end();
  }
}

class Stream {
  readonly #runs: Runs;
  readonly #response: ServerResponse;
  readonly #unfollow: () => void;
  readonly #beat: NodeJS.Timeout;
  #seen: number;
  #ids = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(runs: Runs, response: ServerResponse, lastEventId: string | string[] | undefined) {
    this.#runs = runs;
    this.#response = response;
    const [, instance, count] = /^(\w+)-(\d{1,15})$/.exec(String(lastEventId)) ?? [];
    this.#seen = instance === runs.changes.instance ? Number(count) : 0;
    response.write('retry: 1000\n\n');
    this.#beat = setInterval(() => response.write(': beat\n\n'), beatEvery).unref();
    response.on('drain', () => this.#later());
    this.#unfollow = runs.follow(() => this.#later());
    void runs.refresh().then(() => this.#tell());
  }

  #later(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#tell();
    }, tellEvery).unref();
  }

  #tell(): void {
    const { all, changes } = this.#runs;
    if (this.#response.writableNeedDrain || this.#response.destroyed) return; // 'drain' comes back here
    const ids = JSON.stringify(all.map((run) => run.id));
    if (ids !== this.#ids) this.#response.write(`event: runs\ndata: ${ids}\n\n`);
    this.#ids = ids;
    const news = all.filter((run) => run.revision > this.#seen).sort((a, b) => a.revision - b.revision);
    for (const run of news) {
      this.#seen = run.revision;
      this.#response.write(`id: ${changes.instance}-${run.revision}\nevent: run\ndata: ${JSON.stringify(run.state)}\n\n`);
      if (this.#response.writableNeedDrain) return;
    }
  }

  end(): void {
    clearInterval(this.#beat);
    clearTimeout(this.#timer);
    this.#unfollow();
    this.#response.end();
  }
}
