import { readFileSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { checkText, DataError } from '../../native/errors.ts';
import { type HistoryFile, type HistoryRecord, type HistoryValue, readHistory } from '../history.ts';

export const historyFile = 'metrics.jsonl';

/** 'running': its process lives; 'killed': it does not, and did not say why; 'stopped': from outside, a resume goes on. */
export type RunState = 'running' | 'finished' | 'stopped' | 'failed' | 'killed';

/** A run's folder as it was when it was read. */
export interface RunFolder {
  /** Absolute. */
  dir: string;
  /** The folder's name. */
  name: string;
  history: HistoryFile;
  state: RunState;
  /** Why it ended; the error's message of one that failed. */
  reason: string | undefined;
  /** Milliseconds since 1970: its first start, and the last that was heard of it. */
  started: number | undefined;
  updated: number;
  /** The optimizer steps done. */
  steps: number;
  totalSteps: number | undefined;
  /** The last record of type 'run'. */
  run: HistoryRecord | undefined;
}

/**
 * Reads a run: its folder, or its metrics.jsonl. One that was killed is read to its last whole record.
 * @throws DataError where there is no history
 */
export async function readRun(path: string): Promise<RunFolder> {
  checkText('readRun', 'the run', path);
  const folder = await stat(path).catch(() => undefined);
  if (!folder) throw new DataError(`${path}: there is no such run. Give a run's folder, or its ${historyFile}.`);
  const file = folder.isDirectory() ? join(path, historyFile) : path;
  const found = await stat(file).catch(() => undefined);
  if (!found) throw new DataError(`${path}: holds no ${historyFile}. A Trainer writes one where it is given dir: '${path}'.`);
  const history = await readHistory(file);
  const { records, attempt } = history;
  const run = records.findLast((r) => r.type === 'run');
  const ended = records.findLast((r) => r.type === 'end' && r.attempt === attempt);
  const started = records.find((r) => r.type === 'run')?.time;
  const dir = resolve(dirname(file));
  return {
    ...{ dir, name: basename(dir), history, run, updated: found.mtimeMs },
    state: stateOf(ended, run),
    reason: textOf(ended?.error) ?? textOf(ended?.stopReason),
    started: typeof started === 'number' && Math.abs(started) <= 8.64e15 ? started : undefined, // what Date can hold
    steps: records.reduce((most, r) => (r.type === 'step' ? Math.max(most, r.step) : most), 0),
    totalSteps: typeof run?.totalSteps === 'number' ? run.totalSteps : undefined,
  };
}

const textOf = (v: HistoryValue | undefined): string | undefined => (typeof v === 'string' ? v : undefined);

function stateOf(ended: HistoryRecord | undefined, run: HistoryRecord | undefined): RunState {
  if (ended?.stopReason === 'failed') return 'failed';
  if (ended) return ended.stopReason === 'stopped' || ended.stopReason === 'aborted' ? 'stopped' : 'finished';
  const { pid, host } = Object(run?.environment) as { pid?: unknown; host?: unknown };
  if (host !== hostname() || typeof pid !== 'number' || typeof run?.time !== 'number') return 'killed';
  return lives(pid, run.time) ? 'running' : 'killed';
}

/** Is the process that had this number at `since` still there? Numbers come round again, in containers soon: a process that began later is another. */
function lives(pid: number, since: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    const boot = Number(readFileSync('/proc/stat', 'utf8').match(/^btime (\d+)$/m)?.[1]);
    const began = 1000 * (boot + Number(fields[19]) / 100); // in ticks, of which Linux shows 100 a second
    return !(began > since + 2000);
  } catch {
    return true; // no /proc: the number has to do
  }
}

/** Folders of runs in a folder, itself included, at most three levels down, by their names. What a newer run set aside is left out. */
export async function findRuns(folder: string, depth = 3): Promise<string[]> {
  checkText('findRuns', 'the folder', folder);
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause) => {
    throw new DataError(`${folder}: cannot be read: ${(cause as Error).message}. Give the folder that holds runs.`, { cause });
  });
  const own = entries.some((e) => e.name === historyFile) ? [folder] : [];
  if (depth === 0 || own.length > 0) return own;
  const inner = entries.filter((e) => e.isDirectory() && !e.name.startsWith('.') && e.name !== 'node_modules');
  const lists = await Promise.all(inner.map((e) => findRuns(join(folder, e.name), depth - 1).catch(() => [])));
  return lists.flat().sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
}
