import { execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { CheckpointError, ConfigError } from '../../lib/native/errors.ts';
import { latestValid, pruneCheckpoints, verifyCheckpoint, writeCheckpoint } from '../../lib/train/checkpoint-files.ts';
import { encodeSafetensors, readSafetensors } from '../../lib/train/safetensors.ts';
import { type FileIo, nodeIo } from '../../lib/train/whole-file.ts';

const root = mkdtempSync(join(tmpdir(), 'anneal-checkpoints-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
const fresh = () => join(root, String(count++));

const weights = (v: number) => [
  { name: 'w', dtype: 'f32' as const, shape: [2], data: new Uint8Array(Float32Array.of(v, -v).buffer) },
];
const filesOf = (v: number) => ({
  'weights.safetensors': () => encodeSafetensors(weights(v)),
  'optimizer.safetensors': new Uint8Array(100).fill(v),
  'state.json': JSON.stringify({ v }),
});
const names = (dir: string) => readdirSync(dir).sort();

describe('a checkpoint', () => {
  test('is a folder with its files and a manifest, and is found again', async () => {
    const dir = join(fresh(), 'runs', 'x');
    const { path, pruned } = await writeCheckpoint(dir, 7, filesOf(7), {
      score: { metric: 'val/loss', value: 0.5, mode: 'min' },
    });
    expect(pruned).toEqual({ removed: [], failed: [] });
    expect(path).toBe(join(dir, 'step-00000007'));
    expect(names(path)).toEqual(['manifest.json', 'optimizer.safetensors', 'state.json', 'weights.safetensors']);
    const { checkpoint, rejected } = await latestValid(dir);
    expect(rejected).toEqual([]);
    expect(checkpoint).toMatchObject({
      step: 7,
      path,
      manifest: { format: 'anneal-checkpoint', version: 1, step: 7, score: { value: 0.5 } },
    });
    expect(checkpoint?.manifest.files['optimizer.safetensors']).toEqual({
      bytes: 100,
      sha256: execFileSync('sha256sum', [join(path, 'optimizer.safetensors')])
        .toString()
        .slice(0, 64),
    });
    await using file = await readSafetensors(join(path, 'weights.safetensors'));
    expect(new Float32Array((await file.read('w')).buffer)[1]).toBe(-7);
    expect(JSON.parse(readFileSync(join(path, 'manifest.json'), 'utf8')).step).toBe(7); // the file is plain JSON
  });
  test('none where there is no folder', async () => {
    expect(await latestValid(fresh())).toEqual({ checkpoint: undefined, rejected: [] });
  });
  test('of the same step supersedes the earlier one', async () => {
    const dir = fresh();
    await writeCheckpoint(dir, 3, filesOf(1));
    const again = await writeCheckpoint(dir, 3, filesOf(2));
    expect(names(dir)).toEqual(['step-00000003.1']);
    const { checkpoint } = await latestValid(dir);
    expect(checkpoint?.path).toBe(again.path);
    expect(JSON.parse(readFileSync(join(again.path, 'state.json'), 'utf8')).v).toBe(2);
  });
  test('bigger than one piece, from many chunks', async () => {
    const dir = fresh();
    async function* big() {
      for (let i = 0; i < 5; i++) yield new Uint8Array(700_001).fill(i);
    }
    const { path } = await writeCheckpoint(dir, 1, { big: big(), whole: new Uint8Array(3_000_000).fill(9) });
    expect((await verifyCheckpoint(path)).manifest.files.big?.bytes).toBe(3_500_005);
    expect(readFileSync(join(path, 'big'))[2_800_004]).toBe(4);
  });
  test.each([
    ['a fractional step', 1.5, {}, {}, /step must be an integer/],
    ['a path for a name', 1, { '../x': '' }, {}, /no name for a file/],
    ['the manifest', 1, { 'manifest.json': '' }, {}, /no name for a file/],
    ['a misspelled option', 1, {}, { keeps: {} }, /"keeps" should be "keep"/],
    ['a misspelled keep', 1, {}, { keep: { lest: 1 } }, /"lest" should be "last"/],
    ['a negative keep', 1, {}, { keep: { last: -1 } }, /last must be an integer >= 0/],
  ])('refuses %s', async (_, step, files, options, message) => {
    const dir = fresh();
    const act = writeCheckpoint(dir, step, files as Record<string, string>, options as object);
    await expect(act).rejects.toThrow(ConfigError);
    await expect(act).rejects.toThrow(message);
    expect((await latestValid(dir)).checkpoint).toBeUndefined();
  });
});

describe('damage', () => {
  test('each file cut at every byte: the older checkpoint is taken and the damage named', async () => {
    const dir = fresh();
    const old = await writeCheckpoint(dir, 1, filesOf(1));
    const young = await writeCheckpoint(dir, 2, filesOf(2));
    for (const name of names(young.path)) {
      const file = join(young.path, name);
      const whole = readFileSync(file);
      for (let n = 0; n < whole.length; n++) {
        truncateSync(file, n);
        const { checkpoint, rejected } = await latestValid(dir);
        expect(checkpoint?.path, `${name} cut to ${n}`).toBe(old.path);
        expect(rejected).toEqual([{ step: 2, path: young.path, reason: expect.stringContaining(name) }]);
        writeFileSync(file, whole);
      }
    }
    expect((await latestValid(dir)).checkpoint?.path).toBe(young.path);
  });
  test('any bit flipped in any file shows', async () => {
    const dir = fresh();
    const { path } = await writeCheckpoint(dir, 2, filesOf(2), { score: { metric: 'm', value: 1, mode: 'min' } });
    for (const name of names(path)) {
      const file = join(path, name);
      const whole = readFileSync(file);
      for (let i = 0; i < whole.length; i++) {
        const bad = Buffer.from(whole);
        bad[i] = (bad[i] as number) ^ (1 << (i % 8));
        writeFileSync(file, bad);
        await expect(verifyCheckpoint(path), `${name} byte ${i}`).rejects.toThrow(CheckpointError);
      }
      writeFileSync(file, whole);
    }
    expect((await verifyCheckpoint(path)).step).toBe(2);
  });
  test('missing files, a renamed folder, a foreign one, a pipe', async () => {
    const dir = fresh();
    const old = await writeCheckpoint(dir, 1, filesOf(1));
    const damage: [number, (path: string) => void, RegExp][] = [
      [2, (p) => rmSync(join(p, 'state.json')), /state\.json: is missing/],
      [3, (p) => rmSync(join(p, 'manifest.json')), /never completed/],
      [4, (p) => renameSync(p, join(dir, 'step-00000009')), /the manifest is of step 4: the folder was renamed/],
      [
        5,
        (p) => {
          rmSync(join(p, 'state.json'));
          execFileSync('mkfifo', [join(p, 'state.json')]);
        },
        /not a regular file/,
      ],
    ];
    for (const [step, break_] of damage) break_((await writeCheckpoint(dir, step, filesOf(step))).path);
    mkdirSync(join(dir, 'step-00000077'));
    writeFileSync(join(dir, 'notes.txt'), 'not a checkpoint');
    const { checkpoint, rejected } = await latestValid(dir);
    expect(checkpoint?.path).toBe(old.path);
    expect(rejected.map((r) => r.step)).toEqual([77, 9, 5, 3, 2]);
    const reasons = rejected.map((r) => r.reason).join('\n');
    for (const [, , message] of damage) expect(reasons).toMatch(message);
  });
});

/** The n-th call of the file system fails; with `dead`, so do all later ones, as if the process had died there. */
function faulty(n: number, dead: boolean): { io: FileIo; calls: () => number } {
  let calls = 0;
  const tick = () => {
    calls++;
    if (calls === n || (dead && calls > n)) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  };
  const wrap =
    <A extends unknown[], R>(f: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      tick();
      return f(...args);
    };
  const io: FileIo = {
    mkdir: wrap(nodeIo.mkdir as never) as FileIo['mkdir'],
    rename: wrap(nodeIo.rename),
    rm: wrap(nodeIo.rm),
    readdir: wrap(nodeIo.readdir),
    syncFolder: wrap(nodeIo.syncFolder),
    async open(path, flags) {
      tick();
      const file = await nodeIo.open(path, flags);
      return {
        close: () => file.close(),
        sync: wrap(() => file.sync()),
        // Half of the bytes arrive before the disk is full.
        write: (async (data: Uint8Array, offset: number, length: number, at: number) => {
          try {
            tick();
          } catch (error) {
            await file.write(data, offset, length >> 1, at);
            throw error;
          }
          return file.write(data, offset, Math.ceil(length / 2), at); // short writes are legal
        }) as never,
      };
    },
  };
  return { io, calls: () => calls };
}

describe('faults while writing', () => {
  test('every file is on the disk before the folder, and the folder before its name', async () => {
    const calls: string[] = [];
    const io: FileIo = {
      ...nodeIo,
      async open(path, flags) {
        const file = await nodeIo.open(path, flags);
        const name = basename(path);
        return {
          write: file.write.bind(file),
          sync: () => {
            calls.push(`sync ${name}`);
            return file.sync();
          },
          close: () => file.close(),
        };
      },
      rename(from, to) {
        calls.push(`rename ${basename(String(to))}`);
        return nodeIo.rename(from, to);
      },
      syncFolder(path) {
        calls.push(`sync ${basename(path).replace(/^\.tmp-.*/, 'the new folder')}/`);
        return nodeIo.syncFolder(path);
      },
    };
    const dir = fresh();
    await writeCheckpoint(dir, 2, { a: '1', b: '2' }, { io });
    const expected = [
      'sync a',
      'sync b',
      'sync manifest.json',
      'sync the new folder/',
      'rename step-00000002',
      `sync ${basename(dir)}/`,
    ];
    expect(calls).toEqual(expected);
  });
  test.each([
    ['a call fails', false],
    ['the process dies', true],
  ])('%s, at every call: all or nothing, and the older checkpoint stays', async (_, dead) => {
    const probe = faulty(0, false);
    await writeCheckpoint(fresh(), 2, filesOf(2), { io: probe.io });
    expect(probe.calls()).toBeGreaterThan(20);
    for (let n = 1; n <= probe.calls(); n++) {
      const dir = fresh();
      const old = await writeCheckpoint(dir, 1, filesOf(1));
      const act = writeCheckpoint(dir, 2, filesOf(2), { io: faulty(n, dead).io });
      await expect(act, `call ${n}`).rejects.toThrow(/no space left.*older checkpoints are untouched.*disk is full/);
      const { checkpoint, rejected } = await latestValid(dir);
      expect(rejected).toEqual([]);
      const last = n === probe.calls(); // the fsync after the rename: the new one is there, and whole
      expect(checkpoint?.step, `call ${n}`).toBe(last ? 2 : 1);
      expect((await verifyCheckpoint(old.path)).step).toBe(1);
      if (!dead) expect(names(dir).filter((x) => x.startsWith('.'))).toEqual([]);
      // What a dead writer left is cleared by the next one.
      await writeCheckpoint(dir, 3, filesOf(3), { keep: {} });
      expect(names(dir).filter((x) => x.startsWith('.'))).toEqual([]);
    }
  });
  test('a writer that throws is the cause', async () => {
    const dir = fresh();
    const cause = new Error('device lost');
    const act = writeCheckpoint(dir, 1, {
      x: () => {
        throw cause;
      },
    });
    await expect(act).rejects.toMatchObject({ name: 'CheckpointError', cause });
    expect(names(dir)).toEqual([]);
  });
  test('kill -9 at random moments: whatever is found is whole', async () => {
    const dir = fresh();
    const script = `
      import { writeCheckpoint } from ${JSON.stringify(fileURLToPath(new URL('../../lib/train/checkpoint-files.ts', import.meta.url)))};
      for (let step = Number(process.argv[1]); ; step++) {
        await writeCheckpoint(process.argv[2], step, { a: new Uint8Array(300_000).fill(step), b: String(step) }, { keep: { last: 2 } });
        if (step % 2 === 1) process.stdout.write('.');
      }`;
    let step = 1;
    for (let kill = 0; kill < 6; kill++) {
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script, String(step), dir], {
        cwd: fileURLToPath(new URL('../..', import.meta.url)), // where tsx is found
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await new Promise((go) => child.stdout.once('data', go));
      await new Promise((go) => setTimeout(go, 3 + kill * 7));
      const gone = new Promise((go) => child.once('exit', go));
      child.kill('SIGKILL');
      await gone;
      const { checkpoint, rejected } = await latestValid(dir);
      expect(rejected).toEqual([]);
      expect(checkpoint?.step).toBeGreaterThanOrEqual(step);
      step = (checkpoint?.step ?? 0) + 1;
    }
    await pruneCheckpoints(dir, { last: 1, best: 0 });
    expect(names(dir)).toHaveLength(1);
  });
});

describe('pruning', () => {
  const kept = (dir: string) => names(dir).map((n) => Number(n.slice(5)));

  test('keeps the last, the best and every so many', async () => {
    const dir = fresh();
    const losses = [9, 2, 7, 1, 6, 5, 8, 4, 3.5, 3.6, Number.NaN];
    for (const [i, value] of losses.entries()) {
      const score = { metric: 'val/loss', value, mode: 'min' as const };
      await writeCheckpoint(dir, i + 1, filesOf(i + 1), { score, keep: { last: 2, best: 2, every: 5 } });
    }
    expect(kept(dir)).toEqual([2, 4, 5, 10, 11]); // best: 1 (step 4) and 2 (step 2)
    await pruneCheckpoints(dir, { last: 1, best: 1 });
    expect(kept(dir)).toEqual([4, 11]);
  });
  test('mode max, and scores of another metric are not compared', async () => {
    const dir = fresh();
    await writeCheckpoint(dir, 1, filesOf(1), { score: { metric: 'val/loss', value: 0.001, mode: 'min' } });
    for (const [i, value] of [0.5, 0.9, 0.7].entries()) {
      await writeCheckpoint(dir, i + 2, filesOf(1), { score: { metric: 'val/accuracy', value, mode: 'max' } });
    }
    await pruneCheckpoints(dir, { last: 1, best: 1 });
    expect(kept(dir)).toEqual([3, 4]);
  });
  test('never the newest valid one, though newer ones are damaged and keep says 0', async () => {
    const dir = fresh();
    for (const step of [1, 2, 3, 4]) await writeCheckpoint(dir, step, filesOf(step));
    const cut = join(dir, 'step-00000004', 'optimizer.safetensors');
    truncateSync(cut, 10);
    const flipped = join(dir, 'step-00000003', 'optimizer.safetensors');
    writeFileSync(flipped, Buffer.from(readFileSync(flipped)).fill(77)); // same length: only the hash tells
    const { removed } = await pruneCheckpoints(dir, { last: 0, best: 0 });
    expect(removed).toEqual([join(dir, 'step-00000001')]);
    expect(kept(dir)).toEqual([2, 3, 4]);
    expect((await latestValid(dir)).checkpoint?.step).toBe(2);
  });
  test('damaged older ones do not count as kept', async () => {
    const dir = fresh();
    for (const step of [1, 2, 3, 4]) await writeCheckpoint(dir, step, filesOf(step));
    rmSync(join(dir, 'step-00000003', 'manifest.json'));
    await pruneCheckpoints(dir, { last: 2, best: 0 });
    expect(kept(dir)).toEqual([2, 4]);
  });
  test('a folder that cannot be removed is reported, and the checkpoint still counts', async () => {
    const dir = fresh();
    await writeCheckpoint(dir, 1, filesOf(1));
    const io = { ...nodeIo, rm: () => Promise.reject(new Error('busy')) };
    const { pruned } = await writeCheckpoint(dir, 2, filesOf(2), { keep: { last: 1, best: 0 }, io });
    expect(pruned.failed).toEqual([{ path: join(dir, 'step-00000001'), reason: 'busy' }]);
    expect((await latestValid(dir)).checkpoint?.step).toBe(2);
  });
  test('work in progress of a living process is left alone', async () => {
    const dir = fresh();
    let release = () => {};
    const gate = new Promise<void>((go) => {
      release = go;
    });
    async function* slow() {
      yield Uint8Array.of(1);
      await gate;
    }
    const first = writeCheckpoint(dir, 1, { slow: slow() });
    await writeCheckpoint(dir, 2, filesOf(2), { keep: { last: 5 } });
    const mine = names(dir).find((n) => n.startsWith('.tmp')) as string;
    // The parent of this process lives as long as it does; a process id beyond the limit never does.
    for (const pid of [process.ppid, 2 ** 22 + 5]) {
      cpSync(join(dir, mine), join(dir, mine.replace(`-${process.pid}-`, `-${pid}-`)), { recursive: true });
    }
    await pruneCheckpoints(dir, { last: 5 });
    const left = names(dir).filter((n) => n.startsWith('.tmp'));
    expect(left).toHaveLength(2);
    expect(left.some((n) => n.includes(`-${2 ** 22 + 5}-`))).toBe(false);
    release();
    expect((await first).step).toBe(1);
    expect(kept(dir).filter((n) => n > 0)).toEqual([1, 2]);
  });
});
