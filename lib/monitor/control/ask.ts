/** Steering a run from outside, through its folder. */
import { lstat, rm, stat } from 'node:fs/promises';
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ConfigError } from '../../native/errors.ts';
import {
  answerName,
  type ControlAnswer,
  type ControlListener,
  type ControlRequest,
  checkRequest,
  controlFolder,
  listenerFile,
  maxAnswerBytes,
  maxRequestBytes,
  newId,
  putWhole,
  readSmall,
  requestName,
} from './protocol.ts';

/** Is a run under way in a folder? `listening`: as far as this machine can tell. `killed`: its process ended without a word. */
export type RunLife = 'listening' | 'killed' | 'over';

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // somebody else's process
  }
};

/** Who listens in a run's folder, if anybody. */
export async function listenerOf(dir: string): Promise<ControlListener | undefined> {
  try {
    const folder = join(dir, controlFolder);
    if (!(await lstat(folder)).isDirectory()) return undefined;
    const { pid, host, attempt } = JSON.parse(await readSmall(join(folder, listenerFile), maxRequestBytes)) as ControlListener;
    return Number.isSafeInteger(pid) && pid > 0 && typeof host === 'string' ? { pid, host, attempt } : undefined;
  } catch {
    return undefined; // there is none, or what is there was not written by a run
  }
}

export async function lifeOf(dir: string): Promise<RunLife> {
  const listener = await listenerOf(dir);
  if (!listener) return 'over';
  // Of another machine's process nothing can be known.
  return listener.host !== hostname() || alive(listener.pid) ? 'listening' : 'killed';
}

/** The user of this process, for the journal. */
export function whoAmI(): string {
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    return hostname();
  }
}

export interface AskOptions {
  /** Who asks, for the run's journal. Default: the user and the machine. */
  by?: string;
  /** Milliseconds to wait for the answer. Default 60,000. */
  timeout?: number;
  signal?: AbortSignal;
}

const there = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/**
 * Asks the run in `dir` and waits for what came of it: each wish with the step at which it was obeyed, or why it was not.
 * @throws ConfigError where no run listens, or none answers in time; a request that nobody took is taken back
 */
export async function askRun(dir: string, request: ControlRequest, options: AskOptions = {}): Promise<ControlAnswer> {
  const { by = whoAmI(), timeout = 60_000, signal } = options;
  checkRequest(request);
  const life = await lifeOf(dir);
  if (life === 'over') throw new ConfigError(`${dir}: no run is under way here that could be steered.`);
  if (life === 'killed')
    throw new ConfigError(`${dir}: the run was killed: its process is gone. Start it again with resume: 'auto', then ask.`);
  const folder = join(dir, controlFolder);
  const id = newId();
  await putWhole(folder, requestName(id), { ...request, by });
  const [asked, answered] = [join(folder, requestName(id)), join(folder, answerName(id))];
  const until = performance.now() + timeout;
  for (let pause = 20; ; pause = Math.min(200, pause * 1.5)) {
    if (await there(answered)) {
      const answer = JSON.parse(await readSmall(answered, maxAnswerBytes)) as ControlAnswer;
      await rm(answered, { force: true });
      return answer;
    }
    if (signal?.aborted || performance.now() > until) {
      const untaken = await rm(asked).then(
        () => true,
        () => false,
      );
      signal?.throwIfAborted();
      throw new ConfigError(
        untaken
          ? `${dir}: the run did not take the request within ${timeout / 1000} s, so it was taken back. Is its process stopped, or busy without end?`
          : `${dir}: the run took the request and has not answered within ${timeout / 1000} s. What comes of it will be in its metrics.jsonl.`,
      );
    }
    if ((await lifeOf(dir)) !== 'listening' && !(await there(answered))) {
      await rm(asked, { force: true });
      throw new ConfigError(`${dir}: the run ended before it answered.`);
    }
    await delay(pause);
  }
}
