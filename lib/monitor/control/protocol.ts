/**
 * What passes through a run's folder `control/` between a run and whoever steers it from outside.
 *
 *   run.json             who listens; there from a start of the run to its end
 *   <id>.request.json    a wish; the run takes the file away before it obeys
 *   <id>.answer.json     what came of it; whoever asked takes it away
 *
 * Files appear whole: written beside and renamed. Whoever may write to the folder may steer the run.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, describe, didYouMean } from '../../native/errors.ts';

/** What is asked of a run, all of it at the next step boundary. */
export interface ControlRequest {
  /** The rate of the coming step, >= 0; the schedule's shape goes on from it. */
  lr?: number;
  evaluate?: true;
  checkpoint?: true;
  /** End the run with the epoch under way. */
  stopAfterEpoch?: true;
}

export type ControlKind = keyof ControlRequest;
export const controlKinds = ['lr', 'evaluate', 'checkpoint', 'stopAfterEpoch'] as const satisfies readonly ControlKind[];

/** What came of one wish. */
export interface ControlResult {
  what: ControlKind;
  /** Optimizer steps done when it was obeyed, or refused. */
  step: number;
  /** Why not. */
  refused?: string;
  /** Figures of an evaluation by full name: 'val/loss'. */
  metrics?: Record<string, number>;
  /** Folder of the checkpoint. */
  path?: string;
}

export type ControlAnswer = { results: ControlResult[] } | { refused: string };

/** Who listens. */
export interface ControlListener {
  pid: number;
  host: string;
  attempt: number;
}

export const controlFolder = 'control';
export const listenerFile = 'run.json';
/** Requests and listeners are tens of bytes. */
export const maxRequestBytes = 4096;
/** An answer may have the figures of an evaluation. */
export const maxAnswerBytes = 1 << 20;
const maxBy = 120;

export const newId = (): string => `${Date.now().toString(36)}-${randomBytes(6).toString('hex')}`;
export const requestName = (id: string): string => `${id}.request.json`;
export const answerName = (id: string): string => `${id}.answer.json`;
/** The id of a request's file name; undefined for all other names. */
export const requestId = (name: string): string | undefined => /^([\w-]{1,64})\.request\.json$/.exec(name)?.[1];

/** Throws DataError unless `value` is what may be asked of a run. */
export function checkRequest(value: unknown): { request: ControlRequest; by: string } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new DataError('it is no object');
  const { by = '', ...request } = value as Record<string, unknown>;
  if (typeof by !== 'string') throw new DataError('by must be a string');
  const names = Object.keys(request);
  const unknown = names.find((name) => !controlKinds.includes(name as ControlKind));
  if (unknown !== undefined) {
    const right = didYouMean(unknown.slice(0, 40), controlKinds);
    throw new DataError(
      `${describe(unknown.slice(0, 40))} cannot be asked${right ? `; did you mean ${right}?` : `, only ${controlKinds.join(', ')}`}`,
    );
  }
  if (names.length === 0) throw new DataError(`it asks for nothing; known are ${controlKinds.join(', ')}`);
  const { lr, ...rest } = request;
  if (lr !== undefined && !(typeof lr === 'number' && lr >= 0 && lr < Number.POSITIVE_INFINITY))
    throw new DataError(`lr must be a number >= 0, got ${describe(lr)}`);
  for (const [name, wish] of Object.entries(rest))
    if (wish !== true) throw new DataError(`${name} must be true, got ${describe(wish)}`);
  return { request: request as ControlRequest, by: readable(by) };
}

/** A name that somebody gave himself, fit for one line of a terminal. */
const readable = (text: string): string => text.replace(/[^\p{L}\p{N}\p{P}\p{S} ]/gu, '?').slice(0, maxBy);

/** Throws DataError unless `text` is a request. */
export function parseRequest(text: string): { request: ControlRequest; by: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new DataError('it is not JSON'); // without the cause, which quotes the content
  }
  return checkRequest(value);
}

/** The text of a small file that is a file and no link: what is opened cannot block, and leads nowhere else. Throws DataError. */
export async function readSmall(path: string, maxBytes: number): Promise<string> {
  const found = await lstat(path);
  if (found.isSymbolicLink()) throw new DataError('it is a symbolic link');
  if (!found.isFile()) throw new DataError('it is no regular file');
  const file = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  try {
    const { size, nlink } = await file.stat();
    if (nlink > 1) throw new DataError('it has a second name elsewhere');
    if (size > maxBytes) throw new DataError(`it has ${size} bytes; ${maxBytes} are the most`);
    const buffer = Buffer.alloc(maxBytes + 1);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    if (bytesRead > maxBytes) throw new DataError(`it grew past ${maxBytes} bytes`);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Appears whole, and never through a link that stands there. Not fsynced: a wish that a power cut loses was not answered either. */
export async function putWhole(folder: string, name: string, value: unknown): Promise<void> {
  const beside = join(folder, `.${name}.${randomBytes(4).toString('hex')}`);
  try {
    await writeFile(beside, JSON.stringify(value), { flag: 'wx' });
    await rename(beside, join(folder, name));
  } catch (error) {
    await rm(beside, { force: true }).catch(() => {});
    throw error;
  }
}
