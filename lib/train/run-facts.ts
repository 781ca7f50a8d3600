// What a run is and where it runs, as plain JSON for its record: bounded in size, whatever the options hold.
import { existsSync, readFileSync } from 'node:fs';
import { cpus, hostname, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { HistoryValue } from '../monitor/index.ts';
import { packageRoot } from '../native/load.ts';
import type { Optimizer } from '../optim/index.ts';
import { Schedule } from '../schedule/index.ts';
import type { FitOptions, TrainerOptions } from './trainer.ts';

type Plain = { [name: string]: HistoryValue };
const textLimit = 500;
const listLimit = 50;
const cut = (text: string, limit = textLimit): string =>
  text.length > limit ? `${text.slice(0, limit)} ... (${text.length} characters)` : text;

/** A value as JSON: functions as their source, objects of classes by the classes' names, nothing deeper than `depth`. */
export function plain(value: unknown, depth = 4): HistoryValue {
  if (value === null || typeof value === 'boolean' || typeof value === 'number') return value;
  if (typeof value === 'string') return cut(value);
  if (typeof value === 'function') return cut(String(value).replace(/\s+/g, ' '));
  if (value instanceof Schedule) return value.describe();
  if (typeof value !== 'object') return String(value);
  const kind = Object.getPrototypeOf(value)?.constructor?.name ?? 'Object';
  if (ArrayBuffer.isView(value)) return `${kind} of ${value.byteLength} bytes`;
  if (Array.isArray(value)) {
    const more = value.length - listLimit;
    const shown = value.slice(0, listLimit).map((v) => plain(v, depth - 1));
    return more > 0 ? [...shown, `... ${more} more`] : shown;
  }
  if (kind !== 'Object') return kind;
  if (depth <= 0) return '...';
  const entries = Object.entries(value).filter(([, v]) => v !== undefined);
  return Object.fromEntries(entries.slice(0, listLimit).map(([k, v]) => [cut(k), plain(v, depth - 1)]));
}

function optimizerFacts(optimizer: Optimizer): Plain {
  const groups = optimizer.groups.map(({ params, ...options }) => ({
    ...(plain(options) as Plain),
    ...{ tensors: params.length, parameters: params.reduce((a, p) => a + p.size, 0) },
  }));
  return { kind: optimizer.kind, groups: groups.slice(0, listLimit) };
}

function loaderFacts(loader: object): Plain {
  const { samples, length, batchSize, seed } = loader as Record<string, unknown>;
  const known = Object.entries({ samples, batches: length, batchSize, seed }).filter(([, v]) => v !== undefined);
  return Object.fromEntries(known.map(([k, v]) => [k, plain(v)]));
}

/** The options of trainer and fit. */
export function configurationOf(trainer: TrainerOptions, fit: FitOptions): Plain {
  const { model, optimizer, sinks: _, progress: __, dir: ___, logger: _logger, hooks = [], ...rest } = trainer;
  const { train, validation, signal: ____, ...course } = fit;
  return {
    model: cut(String(model), 8000),
    optimizer: optimizerFacts(optimizer),
    ...(plain(rest) as Plain),
    ...(hooks.length ? { hooks: hooks.map((h) => plain((h as { name?: unknown }).name ?? h)) } : {}),
    ...(plain(course) as Plain),
    train: loaderFacts(train),
    ...(validation ? { validation: loaderFacts(validation) } : {}),
  };
}

/** The value of an argument that looks like a secret is not told: a report is passed on. */
const secret = /(token|key|secret|passw(or)?d|credential)/i;
export function withoutSecrets(args: readonly string[]): string[] {
  return args.map((arg, i) => {
    const [name, value] = arg.split(/=(.*)/s);
    if (value !== undefined && secret.test(name as string)) return `${name}=***`;
    const before = args[i - 1] ?? '';
    return before.startsWith('-') && !before.includes('=') && secret.test(before) && !arg.startsWith('-') ? '***' : arg;
  });
}

/** The commit that is checked out where the program runs, read from git's files; undefined where there is none. */
export function gitCommit(from: string): string | undefined {
  const read = (path: string) => {
    try {
      return readFileSync(path, 'utf8').trim();
    } catch {
      return undefined;
    }
  };
  for (let dir = resolve(from); ; dir = dirname(dir)) {
    const link = read(join(dir, '.git'))?.match(/^gitdir: (.+)$/)?.[1]; // a worktree
    const git = link ? resolve(dir, link) : join(dir, '.git');
    const head = read(join(git, 'HEAD'));
    if (head !== undefined) {
      const ref = head.match(/^ref: (.+)$/)?.[1];
      if (ref === undefined) return /^[0-9a-f]{40,64}$/.test(head) ? head : undefined;
      const common = resolve(git, read(join(git, 'commondir')) ?? '.');
      const packed = read(join(common, 'packed-refs'))?.split('\n');
      return read(join(common, ref)) ?? packed?.find((line) => line.endsWith(` ${ref}`))?.split(' ')[0];
    }
    if (dirname(dir) === dir) return undefined;
  }
}

function ownVersion(): string {
  const manifest = join(packageRoot(), 'package.json');
  return existsSync(manifest) ? (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version : 'unknown';
}

/** The program and the machine. `memory` is bytes. */
export function environmentOf(device: string): Plain {
  const commit = gitCommit(process.cwd());
  return {
    ...{ node: process.version, anneal: ownVersion(), platform: `${process.platform}-${process.arch}`, device },
    ...{ cpu: cpus()[0]?.model.trim() ?? 'unknown', cores: cpus().length, memory: totalmem() },
    ...{
      host: hostname(),
      pid: process.pid,
      argv: withoutSecrets(process.argv.slice(1))
        .map((a) => cut(a))
        .slice(0, listLimit),
    },
    ...(commit === undefined ? {} : { commit }),
  };
}
