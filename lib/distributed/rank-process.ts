/** One rank under the launcher: a process group of its own, its output by line, how it ended. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Failure } from './index.ts';

const keptLines = 20;

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Milliseconds since 1970. */
  time: number;
  /** After the launcher had told all to end. */
  told: boolean;
}

export class RankProcess {
  readonly rank: number;
  readonly lastLines: string[] = [];
  readonly ended: Promise<Ended>;
  /** What the rank itself said of its failure. */
  failure: Failure | undefined;
  readonly #child: ChildProcess;
  #told = false;

  constructor(rank: number, command: readonly string[], env: NodeJS.ProcessEnv, log: string) {
    this.rank = rank;
    // Descriptor 3 is the control pipe: it ends with the launcher, however the launcher ends.
    const child = spawn(process.execPath, command, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
    this.#child = child;
    child.stdio[3]?.on('error', () => {});
    const file = createWriteStream(log);
    file.on('error', () => {}); // a full disk of logs ends no training
    for (const [from, to] of [
      [child.stdout, process.stdout],
      [child.stderr, process.stderr],
    ] as const) {
      if (!from) continue;
      createInterface({ input: from, crlfDelay: Infinity }).on('line', (line) => {
        to.write(`[${rank}] ${line}\n`);
        file.write(`${line}\n`);
        this.lastLines.push(line);
        if (this.lastLines.length > keptLines) this.lastLines.shift();
      });
    }
    const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
    this.ended = new Promise<Ended>((resolve) => {
      child.once('error', (error) => this.lastLines.push(String(error)));
      child.once('error', () => resolve({ code: 127, signal: null, time: Date.now(), told: this.#told }));
      child.once('exit', async (code, signal) => {
        const end = { code, signal, time: Date.now(), told: this.#told };
        this.#kill('SIGKILL'); // what it started ends with it
        await Promise.race([closed, new Promise((r) => setTimeout(r, 1000))]);
        file.end();
        resolve(end);
      });
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Signals the whole group. */
  signal(signal: NodeJS.Signals): void {
    this.#told = true;
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#kill(signal);
  }

  #kill(signal: NodeJS.Signals): void {
    try {
      if (this.pid) process.kill(-this.pid, signal);
    } catch {
      // the group is gone
    }
  }
}
