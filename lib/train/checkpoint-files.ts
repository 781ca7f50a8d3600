import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { CheckpointError, ConfigError, checkOptions, checkText, describe } from '../native/errors.ts';
import { type FileContent, type FileIo, hashFile, nodeIo, writeFailed, writeNew } from './whole-file.ts';

/** The validation result that `keep.best` compares. */
export interface CheckpointScore {
  metric: string;
  value: number;
  mode: 'min' | 'max';
}

/** `manifest.json` of a checkpoint: what it holds and how to tell that it is whole. */
export interface CheckpointManifest {
  format: 'anneal-checkpoint';
  version: number;
  step: number;
  /** ISO 8601. */
  created: string;
  score?: CheckpointScore;
  files: Record<string, { bytes: number; sha256: string }>;
}

/** One checkpoint on disk. */
export interface Checkpoint {
  step: number;
  /** Its folder; the files are in it under their names. */
  path: string;
  manifest: CheckpointManifest;
}

/** Which checkpoints stay. The newest valid one always does. */
export interface Keep {
  /** The newest so many. Default 3. */
  last?: number;
  /** The best so many by score. Default 1. */
  best?: number;
  /** All whose step is a multiple of this; 0 is none. Default 0. */
  every?: number;
}

export interface WriteCheckpointOptions {
  /** Prune afterwards; without it nothing is removed but an older checkpoint of the same step. */
  keep?: Keep;
  score?: CheckpointScore;
  /** The file system; a test's place for faults. */
  io?: FileIo;
}

const version = 1;
const manifestName = 'manifest.json';
const maxManifestBytes = 16 << 20;

interface Folder {
  name: string;
  path: string;
  step: number;
  /** 0, or n for the n-th rewrite of the same step. A folder is never replaced in place: that cannot be done atomically. */
  take: number;
}

const folderName = (step: number, take: number) => `step-${String(step).padStart(8, '0')}${take > 0 ? `.${take}` : ''}`;

/** Checkpoint folders in `dir`, newest first. Empty where there is no such folder. */
async function folders(where: string, dir: string): Promise<Folder[]> {
  checkText(where, 'the folder', dir);
  let names: string[];
  try {
    names = await readdir(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new CheckpointError(`${dir}: cannot be listed: ${(error as Error).message}.`, { cause: error });
  }
  const found = names.flatMap((name): Folder[] => {
    const m = /^step-(\d{8,16})(?:\.(\d{1,9}))?$/.exec(name);
    return m ? [{ name, path: join(dir, name), step: Number(m[1]), take: Number(m[2] ?? 0) }] : [];
  });
  return found.sort((a, b) => b.step - a.step || b.take - a.take);
}

/** The manifest's text. Its first line is a digest of the rest, so that a damaged manifest shows. */
function formatManifest(manifest: CheckpointManifest): string {
  const body = JSON.stringify(manifest, null, 1);
  const digest = createHash('sha256').update(body).digest('hex');
  return `{\n "digest": "${digest}",\n${body.slice(2)}`;
}

async function readManifest(path: string): Promise<CheckpointManifest> {
  const file = join(path, manifestName);
  const found = await stat(file).catch(() => undefined);
  if (!found?.isFile()) throw new CheckpointError(`${path}: has no ${manifestName}: it was never completed.`);
  if (found.size > maxManifestBytes) throw new CheckpointError(`${file}: ${found.size} bytes are too many for a manifest.`);
  const bytes = await readFile(file);
  const m = /^\{\n "digest": "([0-9a-f]{64})",\n/.exec(bytes.toString('latin1', 0, 128));
  const body = m && Buffer.concat([Buffer.from('{\n'), bytes.subarray(m[0].length)]);
  if (!m || !body || createHash('sha256').update(body).digest('hex') !== m[1]) {
    throw new CheckpointError(`${file}: damaged: its digest does not match.`);
  }
  const manifest = JSON.parse(body.toString('utf8')) as CheckpointManifest; // as we wrote it: the digest says so
  if (manifest.format !== 'anneal-checkpoint' || manifest.version !== version) {
    throw new CheckpointError(
      `${file}: format ${manifest.format} ${manifest.version}; this version of Anneal reads ${version}. Update Anneal.`,
    );
  }
  return manifest;
}

/** Whether the manifest is whole and each file is there with its length; the contents are not read. */
async function looksValid(folder: Folder): Promise<CheckpointManifest | undefined> {
  try {
    const manifest = await readManifest(folder.path);
    if (manifest.step !== folder.step) return undefined;
    for (const [name, { bytes }] of Object.entries(manifest.files)) {
      const found = await stat(join(folder.path, name));
      if (!found.isFile() || found.size !== bytes) return undefined;
    }
    return manifest;
  } catch {
    return undefined;
  }
}

/** Reads the whole checkpoint in the folder `path` and compares each file's hash. Throws CheckpointError saying what is wrong. */
export async function verifyCheckpoint(path: string): Promise<Checkpoint> {
  checkText('verifyCheckpoint', 'the path', path);
  const manifest = await readManifest(path);
  const step = /step-(\d+)(\.\d+)?\/?$/.exec(path)?.[1];
  if (step !== undefined && Number(step) !== manifest.step) {
    throw new CheckpointError(`${path}: the manifest is of step ${manifest.step}: the folder was renamed.`);
  }
  for (const [name, { bytes, sha256 }] of Object.entries(manifest.files)) {
    const file = join(path, name);
    const found = await hashFile(file, bytes).catch((error: unknown) => {
      if (error instanceof CheckpointError) throw error;
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      throw new CheckpointError(`${file}: ${missing ? 'is missing' : (error as Error).message}.`, { cause: error });
    });
    if (found !== sha256) throw new CheckpointError(`${file}: damaged: its SHA-256 is ${found}, the manifest says ${sha256}.`);
  }
  return { step: manifest.step, path, manifest };
}

/** What `latestValid` found. */
export interface LatestValid {
  /** The newest whole checkpoint; undefined where there is none. */
  checkpoint: Checkpoint | undefined;
  /** Newer ones that were not whole, newest first, each with what is wrong. Tell the user. */
  rejected: { step: number; path: string; reason: string }[];
}

/**
 * The newest checkpoint in `dir` whose manifest and hashes hold, and the newer ones passed over with the reason for each.
 * A folder that does not exist holds none.
 */
export async function latestValid(dir: string): Promise<LatestValid> {
  const rejected: LatestValid['rejected'] = [];
  for (const { path, step } of await folders('latestValid', dir)) {
    try {
      return { checkpoint: await verifyCheckpoint(path), rejected };
    } catch (error) {
      rejected.push({ step, path, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  return { checkpoint: undefined, rejected };
}

// Unfinished folders carry their writer's name, so that the leavings of a dead one are told from work in progress.
const here = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
const active = new Set<string>();
const unfinished = (kind: 'tmp' | 'trash', name: string) =>
  `.${kind}-${name}-${here}-${process.pid}-${threadId}-${randomBytes(4).toString('hex')}`;

const alive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
};

async function abandoned(dir: string, name: string): Promise<boolean> {
  const m = /^\.(?:tmp|trash)-step-[\d.]+-([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}$/.exec(name);
  if (!m || active.has(name)) return false;
  const pid = Number(m[2]);
  if (m[1] === here && pid === process.pid && Number(m[3]) === threadId) return true; // an earlier process of the same id
  if (m[1] === here && !alive(pid)) return true;
  const found = await stat(join(dir, name)).catch(() => undefined);
  return found !== undefined && Date.now() - found.mtimeMs > 86_400_000;
}

/** What pruning did. A failure to remove is not an error of the checkpoint that was written. */
export interface Pruned {
  removed: string[];
  failed: { path: string; reason: string }[];
}

async function remove(dir: string, names: readonly string[], io: FileIo): Promise<Pruned> {
  const pruned: Pruned = { removed: [], failed: [] };
  for (const name of names) {
    // Renamed first: half of a removed checkpoint must not look like a damaged one.
    const trash = name.startsWith('.') ? name : unfinished('trash', name);
    try {
      if (trash !== name) await io.rename(join(dir, name), join(dir, trash));
      await io.rm(join(dir, trash), { recursive: true, force: true });
      pruned.removed.push(join(dir, name));
    } catch (error) {
      pruned.failed.push({ path: join(dir, name), reason: (error as Error).message });
    }
  }
  return pruned;
}

/** The rule with its defaults. Throws ConfigError. */
export function checkKeep(keep: Keep): Required<Keep> {
  checkOptions('checkpoint keep', keep, ['last', 'best', 'every']);
  const full = { last: keep.last ?? 3, best: keep.best ?? 1, every: keep.every ?? 0 };
  for (const [name, value] of Object.entries(full)) {
    if (!(Number.isSafeInteger(value) || value === Number.POSITIVE_INFINITY) || value < 0) {
      throw new ConfigError(`checkpoint keep: ${name} must be an integer >= 0, got ${describe(value)}.`);
    }
  }
  return full;
}

/** Of these valid checkpoints, newest first, those that `keep` wants. */
function wanted(valid: readonly { folder: Folder; manifest: CheckpointManifest }[], keep: Required<Keep>): Set<string> {
  const names = new Set(valid.slice(0, keep.last).map((v) => v.folder.name));
  if (keep.every > 0) for (const { folder } of valid) if (folder.step % keep.every === 0) names.add(folder.name);
  const rule = valid.find((v) => v.manifest.score)?.manifest.score;
  const sign = rule?.mode === 'max' ? -1 : 1;
  const scored = valid.flatMap(({ folder, manifest: { score } }) =>
    score && score.metric === rule?.metric && score.mode === rule.mode ? [{ name: folder.name, value: sign * score.value }] : [],
  );
  // The sort is stable: of equals the newest stays.
  for (const { name } of scored.sort((a, b) => a.value - b.value).slice(0, keep.best)) names.add(name);
  return names;
}

/**
 * Removes the checkpoints in `dir` that `keep` does not want and the leavings of writers that died. Never removes the
 * newest valid one, nor a damaged one newer than it. `trusted` names a folder known to be whole, whose hashes are not read again.
 */
export async function pruneCheckpoints(
  dir: string,
  keep: Keep = {},
  options: { trusted?: string; io?: FileIo } = {},
): Promise<Pruned> {
  const rule = checkKeep(keep);
  const all = await folders('pruneCheckpoints', dir);
  let newest = all.findIndex((f) => f.path === options.trusted);
  for (let i = 0; i < (newest < 0 ? all.length : newest); i++) {
    const whole = await verifyCheckpoint((all[i] as Folder).path).catch(() => undefined);
    if (whole) newest = i;
    if (whole) break;
  }
  const rest = newest < 0 ? [] : all.slice(newest);
  const valid: { folder: Folder; manifest: CheckpointManifest }[] = [];
  const steps = new Set<number>();
  for (const folder of rest) {
    const manifest = await looksValid(folder);
    if (!manifest || steps.has(folder.step)) continue; // an older take of the same step is superseded
    steps.add(folder.step);
    valid.push({ folder, manifest });
  }
  const names = wanted(valid, rule);
  const doomed = rest.slice(1).flatMap((f) => (names.has(f.name) ? [] : [f.name]));
  for (const name of await readdir(dir).catch(() => [])) if (await abandoned(dir, name)) doomed.push(name);
  return remove(dir, doomed, options.io ?? nodeIo);
}

const isContent = (v: unknown): boolean =>
  typeof v === 'string' || v instanceof Uint8Array || (typeof v === 'object' && v !== null && Symbol.asyncIterator in v);

function checkRequest(dir: string, step: number, files: Record<string, unknown>, options: WriteCheckpointOptions): void {
  checkText('writeCheckpoint', 'the folder', dir);
  checkOptions('writeCheckpoint', options, ['keep', 'score', 'io']);
  if (files === null || typeof files !== 'object' || Array.isArray(files))
    throw new ConfigError(`writeCheckpoint: files must be an object, contents by name, got ${describe(files)}.`);
  for (const [name, content] of Object.entries(files))
    if (typeof content !== 'function' && !isContent(content))
      throw new ConfigError(
        `writeCheckpoint: file ${name} must be a string, bytes or a stream of bytes, got ${describe(content)}.`,
      );
  if (options.keep) checkKeep(options.keep);
  if (!Number.isSafeInteger(step) || step < 0)
    throw new ConfigError(`writeCheckpoint ${dir}: step must be an integer >= 0, got ${describe(step)}.`);
  for (const name of Object.keys(files)) {
    if (name === manifestName || !/^[A-Za-z0-9][\w.-]{0,127}$/.test(name)) {
      throw new ConfigError(
        `writeCheckpoint ${dir}: ${JSON.stringify(name)} is no name for a file; use letters, digits, "_", "." and "-".`,
      );
    }
  }
}

/** The temporary folder with all files and the manifest in it, everything fsynced. */
async function fill(
  folder: string,
  manifest: CheckpointManifest,
  files: Readonly<Record<string, FileContent | (() => FileContent)>>,
  io: FileIo,
) {
  await io.mkdir(folder);
  for (const [name, content] of Object.entries(files)) {
    manifest.files[name] = await writeNew(join(folder, name), typeof content === 'function' ? content() : content, io);
  }
  await writeNew(join(folder, manifestName), formatManifest(manifest), io, false);
  await io.syncFolder(folder);
}

/**
 * Writes the checkpoint of `step` as a folder in `dir` that is complete or absent: all files go into a temporary folder
 * beside it, each fsynced, then the manifest with their lengths and SHA-256, then one rename and an fsync of `dir`. After
 * a failure (CheckpointError with its cause) the older checkpoints are as they were and nothing is left behind. A second
 * checkpoint of the same step supersedes the first. A score that is not finite is not recorded.
 */
export async function writeCheckpoint(
  dir: string,
  step: number,
  files: Readonly<Record<string, FileContent | (() => FileContent)>>,
  options: WriteCheckpointOptions = {},
): Promise<Checkpoint & { pruned: Pruned }> {
  checkRequest(dir, step, files, options);
  const { io = nodeIo, score, keep } = options;
  const manifest: CheckpointManifest = {
    format: 'anneal-checkpoint',
    version,
    step,
    created: new Date().toISOString(),
    files: {},
  };
  if (score && Number.isFinite(score.value)) manifest.score = { metric: score.metric, value: score.value, mode: score.mode };
  const name = unfinished('tmp', folderName(step, 0));
  active.add(name);
  const beside = join(dir, name);
  let path = '';
  let older: Folder[] = [];
  try {
    await io.mkdir(dir, { recursive: true });
    await fill(beside, manifest, files, io);
    older = (await folders('writeCheckpoint', dir)).filter((f) => f.step === step);
    path = join(dir, folderName(step, older[0] ? older[0].take + 1 : 0));
    await io.rename(beside, path);
    await io.syncFolder(dir);
  } catch (error) {
    await io.rm(beside, { recursive: true, force: true }).catch(() => {});
    throw writeFailed(`checkpoint of step ${step} in ${dir}`, 'The older checkpoints are untouched.', error);
  } finally {
    active.delete(name);
  }
  const pruned = keep
    ? await pruneCheckpoints(dir, keep, { trusted: path, io }).catch((e: Error) => ({
        removed: [],
        failed: [{ path: dir, reason: e.message }],
      }))
    : await remove(
        dir,
        older.map((f) => f.name),
        io,
      );
  return { step, path, manifest, pruned };
}
