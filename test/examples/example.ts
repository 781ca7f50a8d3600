/** Runs an example as its help says, and hears what the diagnosis says of its runs. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import type { Finding } from '../../lib/monitor/index.ts';

const cwd = fileURLToPath(new URL('../..', import.meta.url));

export interface Ran {
  stdout: string;
  stderr: string;
  /** Runs of Trainers that came to their end. */
  runs: number;
  /** What the diagnosis told of them while they went on and when they ended. */
  findings: Finding[];
}

export const example = (name: string, args: readonly string[]): Promise<Ran> => program(`examples/${name}/main.ts`, args);

/** @param path of a program, from the root of the repository */
export async function program(path: string, args: readonly string[] = []): Promise<Ran> {
  const dir = await mkdtemp(join(tmpdir(), 'example-'));
  try {
    const watched = join(dir, 'findings.jsonl');
    const command = ['--import', 'tsx', '--import', new URL('watched.ts', import.meta.url).href, path, ...args];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, command, {
      ...{ cwd, timeout: 170_000 },
      env: { ...process.env, ANNEAL_TEST_DEVICE: '', ANNEAL_WATCHED: watched },
    });
    const lines = (await readFile(watched, 'utf8').catch(() => '')).split('\n').filter(Boolean);
    const told = lines.map((line) => JSON.parse(line) as Finding & { end?: number });
    return {
      stdout,
      stderr,
      runs: told.filter((t) => t.end !== undefined).length,
      findings: told.filter((t) => t.end === undefined),
    };
  } finally {
    await rm(dir, { recursive: true });
  }
}

/** An example that somebody learns from has nothing that the diagnosis would warn of. */
export function expectHealthy({ runs, findings }: Ran, atLeast: number): void {
  expect(runs).toBeGreaterThanOrEqual(atLeast);
  expect(findings.filter((f) => f.severity !== 'info').map((f) => `${f.severity}: ${f.title}: ${f.evidence}`)).toEqual([]);
}
