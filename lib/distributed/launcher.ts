/** Starts a script as several ranks of one world on this machine, holds their store, starts them again, and names what failed first. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Failure } from './index.ts';
import { type Ended, RankProcess } from './rank-process.ts';
import { StoreServer } from './store-server.ts';

export interface LaunchSettings {
  /** Node's arguments: the script's loader, the script and its own. */
  command: readonly string[];
  ranks: number;
  maxRestarts: number;
  logDir: string;
  /** From SIGTERM to SIGKILL. */
  graceSeconds: number;
}

/** What the command ends with when a rank failed. */
export const failedExit = 10;

interface Outcome {
  process: RankProcess;
  end: Ended;
}

/** A shell that outlives this process: when the pipe ends, and 'done' was not said, it kills the groups it was told. */
function startReaper() {
  const script =
    'trap "" INT TERM HUP; g=; while read -r w p; do case $w in add) g="$g $p";; done) g=;; esac; done; for p in $g; do kill -KILL -"$p" 2>/dev/null; done';
  const child = spawn('/bin/sh', ['-c', script], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
  child.on('error', () => {});
  child.stdin.on('error', () => {});
  return { tell: (line: string) => child.stdin.write(`${line}\n`), end: () => child.stdin.end('done\n') };
}

const failed = ({ end }: Outcome) => end.code !== 0;
const consequence = ({ process, end }: Outcome) => process.failure?.code === 'COLLECTIVE' || end.told;
const timeOf = ({ process, end }: Outcome) => process.failure?.time ?? end.time;

/** What a rank told of its failure; undefined where that cannot be read: what it says must not end the launcher. */
export function failureOf(told: Buffer): Failure | undefined {
  try {
    const { rank, code, message, step, time } = JSON.parse(told.toString()) as Partial<Failure>;
    if (typeof rank !== 'number' || typeof code !== 'string' || typeof message !== 'string' || typeof time !== 'number')
      return undefined;
    return { rank, code, message, time, ...(typeof step === 'number' ? { step } : {}) };
  } catch {
    return undefined;
  }
}

/** The earliest failure that no other caused. */
export function rootCause<T extends Outcome>(outcomes: readonly T[]): T | undefined {
  return outcomes.filter(failed).sort((a, b) => +consequence(a) - +consequence(b) || timeOf(a) - timeOf(b))[0];
}

/** A root cause in words. */
export function explain({ process: { rank, failure, lastLines }, end: { code, signal } }: Outcome, log: string): string {
  const killed = signal === 'SIGKILL' || code === 137;
  const how = signal ? `was ended by ${signal}` : `ended with exit code ${code}`;
  const why = killed
    ? ' (137 = 128 + SIGKILL: somebody killed it; without a message most often the system, out of memory: see the kernel log)'
    : '';
  const step = failure?.step === undefined ? '' : ` at step ${failure.step}`;
  const lines = lastLines.map((line) => `    ${line}\n`).join('');
  return `root cause: rank ${rank} ${how}${why}${step}${failure ? `\n  ${failure.message}` : ''}\n  its last lines (all: ${log}):\n${lines}`;
}

/** Runs until all ranks have ended well, or failed more often than `maxRestarts`. Gives the command's exit code. */
export async function launch(settings: LaunchSettings): Promise<number> {
  const { ranks, maxRestarts, logDir, graceSeconds } = settings;
  const run = randomBytes(6).toString('hex');
  const secret = randomBytes(32).toString('hex');
  const store = await StoreServer.listen({ secret, run });
  const reaper = startReaper();
  let processes: RankProcess[] = [];
  let stopping: NodeJS.Signals | undefined;
  let kill: NodeJS.Timeout | undefined;
  const all = (signal: NodeJS.Signals) => {
    for (const process of processes) process.signal(signal);
  };
  const stop = (signal: NodeJS.Signals) => {
    if (kill) return;
    all(signal);
    kill = setTimeout(() => all('SIGKILL'), graceSeconds * 1000);
  };
  const onSignal = (signal: NodeJS.Signals) => {
    if (stopping) return all('SIGKILL');
    stopping = signal;
    stop(signal);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);

  try {
    for (let attempt = 0; ; attempt++) {
      store.attempt = attempt;
      const folder = join(logDir, `attempt-${attempt}`);
      mkdirSync(folder, { recursive: true });
      const log = (rank: number) => join(folder, `rank-${rank}.log`);
      const env = (rank: number): NodeJS.ProcessEnv => ({
        ...process.env,
        RANK: `${rank}`,
        LOCAL_RANK: `${rank}`,
        WORLD_SIZE: `${ranks}`,
        LOCAL_WORLD_SIZE: `${ranks}`,
        GROUP_RANK: '0',
        MASTER_ADDR: '127.0.0.1',
        MASTER_PORT: `${store.port}`,
        TORCHELASTIC_RESTART_COUNT: `${attempt}`,
        TORCHELASTIC_RUN_ID: run,
        ANNEAL_SECRET: secret,
        ANNEAL_STORE: 'launcher',
        ANNEAL_CONTROL: '3',
      });
      processes = Array.from({ length: ranks }, (_, rank) => {
        const started = new RankProcess(rank, settings.command, env(rank), log(rank));
        reaper.tell(`add ${started.pid}`);
        return started;
      });
      const outcomes = await Promise.all(
        processes.map(async (process) => {
          const end = await process.ended;
          const told = store.peek(`anneal/failure/${process.rank}`);
          process.failure = told && failureOf(told);
          if (end.code !== 0) stop('SIGTERM');
          return { process, end };
        }),
      );
      clearTimeout(kill);
      kill = undefined;
      reaper.tell('done');
      if (stopping) return 128 + (stopping === 'SIGINT' ? 2 : 15);
      const root = rootCause(outcomes);
      if (!root) return 0;
      console.error(explain(root, log(root.process.rank)));
      if (attempt >= maxRestarts) return failedExit;
      console.error(`anneal launch: starting all ranks again, ${attempt + 1} of ${maxRestarts} restarts`);
    }
  } finally {
    all('SIGKILL');
    reaper.end();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    await store.close();
  }
}
