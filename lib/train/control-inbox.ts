/** The run's side of its folder `control/` (lib/monitor/control/protocol.ts): read beside training, never waited for. */
import { lstat, mkdir, opendir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import {
  answerName,
  type ControlAnswer,
  type ControlListener,
  type ControlRequest,
  type ControlResult,
  controlFolder,
  listenerFile,
  maxRequestBytes,
  parseRequest,
  putWhole,
  readSmall,
  requestId,
} from '../monitor/control/protocol.ts';
import type { Obeyed } from './live-control.ts';
import { evalFigures } from './recording.ts';

/** Milliseconds between two looks. A look at an empty folder takes 0.1 to 0.3 ms of a processor (measured), all its threads counted: 0.1 % of one. */
const lookEvery = 200;
/** Requests taken up in one look, and refusals that one attempt tells of: who floods the folder fills neither loop nor journal. */
const perLook = 32;
const namesPerLook = 4096;
const maxTold = 100;

/** Who is asked, and who hears what was refused before it was asked. */
export interface InboxOwner {
  step(): number;
  ask(request: ControlRequest, by: string): Promise<Obeyed>[];
  refused(sentence: string): void;
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class ControlInbox {
  readonly #folder: string;
  readonly #owner: InboxOwner;
  /** Requests that could not be taken away: they must not be obeyed at every look. */
  readonly #stuck = new Set<string>();
  #told = 0;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #answering = new Set<Promise<void>>();

  private constructor(dir: string, owner: InboxOwner) {
    this.#folder = join(dir, controlFolder);
    this.#owner = owner;
  }

  /** Listens in `dir`. What waits there was asked of an earlier attempt and is refused. Where the folder cannot be had, the owner hears why. */
  static async open(dir: string, attempt: number, owner: InboxOwner): Promise<ControlInbox> {
    const inbox = new ControlInbox(dir, owner);
    try {
      await mkdir(inbox.#folder, { recursive: true });
      await inbox.#checkFolder();
      await inbox.#sweep();
      const listener: ControlListener = { pid: process.pid, host: hostname(), attempt };
      await putWhole(inbox.#folder, listenerFile, listener);
      inbox.#timer = setInterval(() => inbox.#look(), lookEvery).unref();
    } catch (error) {
      inbox.#refuse(`live control is off: ${inbox.#folder}: ${reasonOf(error)}`);
    }
    return inbox;
  }

  /** Listens no more; whoever still waits is told. */
  async close(): Promise<void> {
    if (!this.#timer) return;
    clearInterval(this.#timer);
    await this.#looking;
    await Promise.all(this.#answering);
    await rm(join(this.#folder, listenerFile), { force: true }).catch(() => {});
    for (const name of await this.#names().catch(() => []))
      if (await this.#take(name)) await this.#answer(name, { refused: 'the run has ended' });
  }

  async #checkFolder(): Promise<void> {
    const found = await lstat(this.#folder);
    if (!found.isDirectory()) throw new Error(found.isSymbolicLink() ? 'it is a symbolic link' : 'it is no folder');
  }

  /** Requests and answers that an earlier attempt left. */
  async #sweep(): Promise<void> {
    for await (const { name } of await opendir(this.#folder)) {
      if (/\.answer\.json$|^\./.test(name)) await rm(join(this.#folder, name), { force: true }).catch(() => {});
      if (requestId(name) === undefined) continue;
      const why = 'it was asked before this attempt of the run began';
      this.#refuse(`control request ${name}: ${why}`);
      if (await this.#take(name)) await this.#answer(name, { refused: why });
    }
  }

  async #names(): Promise<string[]> {
    const names: string[] = [];
    let seen = 0;
    for await (const { name } of await opendir(this.#folder)) {
      if (++seen > namesPerLook) break;
      if (requestId(name) !== undefined && !this.#stuck.has(name)) names.push(name);
      if (names.length === perLook) break;
    }
    return names.sort(); // ids begin with the time
  }

  #look(): void {
    this.#looking ??= this.#readAll()
      .catch(() => {}) // a folder that is away for a while, such as on a network, may come back
      .finally(() => {
        this.#looking = undefined;
      });
  }

  async #readAll(): Promise<void> {
    await this.#checkFolder();
    for (const name of await this.#names()) await this.#read(name);
  }

  async #read(name: string): Promise<void> {
    let asked: ReturnType<typeof parseRequest> | undefined;
    let why = '';
    try {
      asked = parseRequest(await readSmall(join(this.#folder, name), maxRequestBytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return; // taken back
      why = reasonOf(error);
    }
    if (!(await this.#take(name))) return;
    if (!asked) {
      this.#refuse(`control request ${name}: ${why}`);
      await this.#answer(name, { refused: why });
      return;
    }
    const answering = this.#obey(name, asked.request, asked.by).finally(() => this.#answering.delete(answering));
    this.#answering.add(answering);
  }

  /** Takes a request away, so that it is obeyed once. False where that cannot be, or somebody else did. */
  async #take(name: string): Promise<boolean> {
    try {
      await rm(join(this.#folder, name));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      this.#stuck.add(name);
      this.#refuse(`control request ${name}: it cannot be taken away: ${reasonOf(error)}`);
      return false;
    }
  }

  /** Asks, and answers once all is settled; meanwhile others are read. */
  async #obey(name: string, request: ControlRequest, by: string): Promise<void> {
    const kinds = Object.keys(request) as ControlResult['what'][];
    const settled = this.#owner.ask(request, by || 'somebody with access to the folder').map(async (wish, i) => {
      const what = kinds[i] as ControlResult['what'];
      try {
        const { step, metrics, written } = await wish;
        const path = (await written)?.path;
        return { what, step, ...(metrics ? { metrics: evalFigures(metrics) } : {}), ...(path === undefined ? {} : { path }) };
      } catch (error) {
        return { what, step: this.#owner.step(), refused: reasonOf(error) };
      }
    });
    await this.#answer(name, { results: await Promise.all(settled) });
  }

  async #answer(name: string, answer: ControlAnswer): Promise<void> {
    const id = requestId(name) as string;
    await putWhole(this.#folder, answerName(id), answer).catch(() => {}); // the journal has it too
  }

  #refuse(sentence: string): void {
    if (this.#told < maxTold) this.#owner.refused(sentence);
    else if (this.#told === maxTold)
      this.#owner.refused(`more than ${maxTold} control requests were refused; further ones are not told`);
    this.#told++;
  }
}
