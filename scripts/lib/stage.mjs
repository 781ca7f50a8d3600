// What the scripts share: where the project is, running a program quietly, a lock between two runs. Imports nothing outside node:.
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const bin = (name) => join(root, 'node_modules', '.bin', name);

/** A failure that is told to the user in one message, without a stack. */
export class StageError extends Error {
  constructor(message, code = 1) {
    super(message);
    this.code = code;
  }
}

/**
 * Runs a program in the project's root. With `quiet` its output is held back and shown only if it fails.
 * @param {string} command @param {string[]} args @param {{ quiet?: boolean, env?: NodeJS.ProcessEnv }} [options]
 * @returns {Promise<number>} the exit code; with `quiet` a failure throws instead
 */
export function run(command, args, { quiet = false, env = process.env } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env, stdio: quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit' });
    const held = [];
    child.stdout?.on('data', (chunk) => held.push(chunk));
    child.stderr?.on('data', (chunk) => held.push(chunk));
    child.on('error', (error) => reject(new StageError(`${command} could not be started: ${error.message}`)));
    child.on('close', (code, signal) => {
      // Both get Ctrl+C from the terminal; the child decides what it means, and its answer is ours.
      const status = code ?? (signal === 'SIGINT' ? 130 : signal === 'SIGTERM' ? 143 : 1);
      if (!quiet || status === 0) return resolve(status);
      process.stderr.write(Buffer.concat(held));
      reject(new StageError(`${[command, ...args].join(' ')} failed (${signal ?? `exit ${code}`}).`, status));
    });
  });
}

/** While a child owns the terminal, let it answer Ctrl+C (a training run saves a checkpoint) and outlive it until it ends. */
export function leaveSignalsToChild() {
  process.on('SIGINT', () => {});
}

/**
 * Runs `fn` while no other process of this project runs under the same lock. The lock is flock(1)'s, held by a helper that ends
 * when our end of its input closes: however this process dies, the lock goes with it. Where there is no flock, it runs unlocked.
 * @template T @param {string} name @param {() => Promise<T>} fn @returns {Promise<T>}
 */
export async function locked(name, fn) {
  mkdirSync(join(root, 'build'), { recursive: true });
  const holder = spawn('flock', [join(root, 'build', `.${name}.lock`), '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const waiting = setTimeout(() => console.log(`anneal: waiting for another ${name} to end`), 1000);
  try {
    await new Promise((resolve) => {
      holder.once('error', resolve);
      holder.once('close', resolve);
      holder.stdout.once('data', resolve);
    });
    clearTimeout(waiting);
    return await fn();
  } finally {
    clearTimeout(waiting);
    holder.stdin.on('error', () => {});
    holder.stdin.end();
  }
}

/** Runs a script's main function: a StageError is one message and its exit code, anything else is a bug and shows its stack. */
export async function main(fn) {
  try {
    process.exitCode = (await fn()) ?? 0;
  } catch (error) {
    console.error(error instanceof StageError ? `anneal: ${error.message}` : error);
    process.exitCode = error instanceof StageError ? error.code : 1;
  }
}

/** True when `url` (import.meta.url) is the program that node was asked to run. */
export const isProgram = (url) => process.argv[1] !== undefined && fileURLToPath(url) === process.argv[1];
