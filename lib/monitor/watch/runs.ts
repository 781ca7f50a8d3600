import { randomBytes } from 'node:crypto';
import { lstat, opendir, realpath, stat } from 'node:fs/promises';
import { basename, join, relative, sep } from 'node:path';
import { setImmediate as macrotask } from 'node:timers/promises';
import { DataError } from '../../native/errors.ts';
import { type Changes, LiveRun } from './live-run.ts';

/** Folders are looked for so deep, and so many entries of one, and the newest so many runs are followed. */
const maxDepth = 3;
const maxEntries = 2000;
const maxRuns = 50;
/** Milliseconds between two looks at the files, and at the folders. */
const pollEvery = 200;
const searchEvery = 2000;

interface Found {
  dir: string;
  changed: number;
}

/** Runs below a folder, which may be a run itself. Links are not followed, so that nothing outside of it is ever read. */
async function search(root: string): Promise<Found[]> {
  const found: Found[] = [];
  const visit = async (dir: string, depth: number): Promise<void> => {
    const history = await lstat(join(dir, 'metrics.jsonl')).catch(() => undefined);
    if (history?.isFile()) {
      found.push({ dir, changed: history.mtimeMs });
      return;
    }
    if (depth === 0) return;
    let seen = 0;
    const below: string[] = [];
    for await (const entry of await opendir(dir)) {
      if (++seen > maxEntries) break;
      if (entry.isDirectory() && entry.name !== 'node_modules' && !entry.name.startsWith('.')) below.push(join(dir, entry.name));
    }
    for (const folder of below) await visit(folder, depth - 1).catch(() => {}); // may not be read, or is gone
  };
  await visit(root, maxDepth);
  return found.sort((a, b) => b.changed - a.changed).slice(0, maxRuns);
}

/** The runs in a folder, followed as they grow while anybody looks. */
export class Runs {
  readonly root: string;
  readonly #runs = new Map<string, LiveRun>();
  readonly changes: Changes = { instance: randomBytes(6).toString('hex'), count: 0 };
  readonly #listeners = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;
  #polling: Promise<void> | undefined;
  #searched = Number.NEGATIVE_INFINITY;
  #polled = Number.NEGATIVE_INFINITY;

  private constructor(root: string) {
    this.root = root;
  }

  /** @throws DataError where there is no such folder */
  static async open(path: string): Promise<Runs> {
    const found = await stat(path).catch(() => undefined);
    if (!found?.isDirectory()) throw new DataError(`watch: ${path} is no folder. Give a run's folder, or one that holds some.`);
    return new Runs(await realpath(path));
  }

  get all(): LiveRun[] {
    return [...this.#runs.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }
  get(id: string): LiveRun | undefined {
    return this.#runs.get(id);
  }

  /** Looks at the files until the returned function is called; `changed` hears when something is new. */
  follow(changed: () => void): () => void {
    this.#listeners.add(changed);
    this.#timer ??= setInterval(() => void this.poll(), pollEvery).unref();
    return () => {
      this.#listeners.delete(changed);
      if (this.#listeners.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  }

  /** Takes up what is new, unless that was done just now. */
  async refresh(): Promise<void> {
    if (performance.now() - this.#polled > pollEvery) await this.poll();
  }

  poll(): Promise<void> {
    this.#polling ??= this.#poll().finally(() => {
      this.#polling = undefined;
    });
    return this.#polling;
  }

  async #poll(): Promise<void> {
    this.#polled = performance.now();
    if (this.#polled - this.#searched > searchEvery) await this.#search();
    for (const run of this.#runs.values()) {
      let more = true;
      while (more) {
        const before = run.revision;
        more = await run.poll();
        if (run.revision !== before) this.#tell();
        await macrotask();
      }
    }
  }

  #tell(): void {
    for (const tell of this.#listeners) tell();
  }

  async #search(): Promise<void> {
    this.#searched = performance.now();
    const found = await search(this.root).catch(() => []);
    const ids = new Map(found.map(({ dir }) => [relative(this.root, dir).split(sep).join('/') || basename(dir), dir]));
    const gone = [...this.#runs.keys()].filter((id) => !ids.has(id));
    for (const id of gone) this.#runs.delete(id);
    for (const [id, dir] of ids) if (!this.#runs.has(id)) this.#runs.set(id, new LiveRun(id, dir, this.changes));
    if (gone.length) this.#tell();
  }
}
