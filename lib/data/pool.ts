import { Worker } from 'node:worker_threads';
import { DataError } from '../native/errors.ts';
import type { TypedArray } from './host.ts';
import type { GatherJob } from './job.ts';
import { workerFile } from './worker-file.ts';

interface Pending {
  resolve(outs: TypedArray[]): void;
  reject(error: Error): void;
}

type Reply = { id: number; outs: TypedArray[] } | { id: number; error: string };

/** A thread and the jobs it has not answered. It keeps the process alive only while there are any. */
class Thread {
  readonly pending = new Map<number, Pending>();
  readonly worker: Worker;
  dead = false;

  constructor(readonly onDeath: () => void) {
    // The parent's loaders (tsx and the like) are of no use to a plain JavaScript file, and slow to start.
    this.worker = new Worker(workerFile('data.loader', 'worker.mjs', 'data-worker.cjs'), { execArgv: [], name: 'anneal-loader' });
    this.worker.unref();
    this.worker.on('message', (reply: Reply) => this.#answer(reply));
    this.worker.on('error', (error) => this.#fail(`it threw: ${error instanceof Error ? error.message : String(error)}`, error));
    this.worker.on('exit', (code) => this.#fail(`it exited with code ${code}`));
  }

  run(id: number, job: GatherJob): Promise<TypedArray[]> {
    return new Promise((resolve, reject) => {
      if (this.pending.size === 0) this.worker.ref();
      this.pending.set(id, { resolve, reject });
      this.worker.postMessage({ id, job });
    });
  }

  #answer(reply: Reply): void {
    const waiting = this.pending.get(reply.id);
    this.pending.delete(reply.id);
    if (this.pending.size === 0) this.worker.unref();
    if ('outs' in reply) waiting?.resolve(reply.outs);
    else waiting?.reject(new DataError(`a loader thread could not make a batch: ${reply.error}`));
  }

  #fail(what: string, cause?: unknown): void {
    this.dead = true;
    this.onDeath();
    for (const waiting of this.pending.values()) {
      const message = `a loader thread died while it made a batch: ${what}. Try again with { workers: 0 } to see what fails on the main thread.`;
      waiting.reject(new DataError(message, { cause }));
    }
    this.pending.clear();
  }
}

/**
 * The loader threads of this environment, shared by all loaders: started when first needed, kept for the next epoch, never in the
 * way of the process's end. A dead thread is replaced at the next job.
 */
export class WorkerPool {
  readonly threads: (Thread | undefined)[] = [];
  /** Jobs handed to threads so far. */
  jobs = 0;

  /** Runs `job` on the least busy of the first `limit` threads. Rejects with DataError if the thread fails. */
  async run(job: GatherJob, limit: number): Promise<TypedArray[]> {
    let best = 0;
    for (let i = 1; i < limit; i++) {
      if ((this.threads[i]?.pending.size ?? 0) < (this.threads[best]?.pending.size ?? 0)) best = i;
    }
    const existing = this.threads[best];
    const thread = existing && !existing.dead ? existing : this.#start(best);
    return thread.run(this.jobs++, job);
  }

  #start(slot: number): Thread {
    const thread: Thread = new Thread(() => {
      if (this.threads[slot] === thread) this.threads[slot] = undefined;
    });
    this.threads[slot] = thread;
    return thread;
  }
}

export const pool = new WorkerPool();
