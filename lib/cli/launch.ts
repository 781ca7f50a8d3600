/** `anneal launch`: a script as several processes of one world. */
import { existsSync } from 'node:fs';
import { extname, join, resolve } from 'node:path';
import { launch as launchRanks } from '../distributed/launcher.ts';
import { ConfigError } from '../native/errors.ts';
import { tsxOf } from './typescript.ts';

/** Options of the command, as they were typed. */
export interface LaunchOptions {
  nprocPerNode?: string;
  maxRestarts?: string;
  logDir?: string;
  grace?: string;
}

function numberOf(name: string, text: string, least: number, most: number, whole: boolean): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= least && value <= most) || (whole && !Number.isInteger(value)))
    throw new ConfigError(`launch: ${name} must be a ${whole ? 'whole ' : ''}number from ${least} to ${most}, got "${text}"`);
  return value;
}

/** Gives the exit code: 0, 10 where a rank failed, 130 or 143 after a signal. */
export function launch(script: string, args: readonly string[], options: LaunchOptions): Promise<number> {
  const { nprocPerNode = '1', maxRestarts = '0', grace = '10', logDir = join('runs', `launch-${Date.now()}`) } = options;
  const settings = {
    ranks: numberOf('--nproc-per-node', nprocPerNode, 1, 1024, true),
    maxRestarts: numberOf('--max-restarts', maxRestarts, 0, 10_000, true),
    graceSeconds: numberOf('--grace', grace, 0, 86_400, false),
    logDir,
  };
  if (!existsSync(script)) throw new ConfigError(`launch: there is no script ${resolve(script)}`);
  const typescript = /^\.[cm]?ts$/.test(extname(script)) && !(process.features as { typescript?: unknown }).typescript;
  const loader = typescript ? ['--import', tsxOf('launch', script, 'tsx')] : [];
  return launchRanks({ command: [...loader, script, ...args], ...settings });
}
