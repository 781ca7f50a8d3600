/** What is asked of a run while it trains, from the program and from outside through its folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { control as controlCommand, describeResult } from '../../lib/cli/control.ts';
import {
  ConfigError,
  data,
  type Logger,
  losses,
  monitor,
  optim,
  schedule,
  Trainer,
  type TrainerOptions,
} from '../../lib/index.ts';
import { askRun, type ControlResult, lifeOf } from '../../lib/monitor/control/index.ts';
import { clusters, mlp, temporary, valuesOf } from './helpers.ts';

const set = clusters(96);
const loader = () => data.loader(set, { batchSize: 16, shuffle: true, seed: 2, workers: 0 });
const make = (options: Partial<TrainerOptions> = {}) => {
  const model = mlp([8, 3]);
  const optimizer = new optim.AdamW(model.parameters(), { lr: 0.01 });
  return new Trainer({ model, optimizer, loss: (o, b) => losses.crossEntropy(o, b.y as never), ...options });
};
const records = async (dir: string, type: string) =>
  (await monitor.readHistory(join(dir, 'metrics.jsonl'))).records.filter((r) => r.type === type);

/** Waits until it is so; fails after 20 s. */
async function until<T>(what: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  for (const end = performance.now() + 20_000; performance.now() < end; await delay(10)) {
    const found = await what();
    if (found) return found;
  }
  throw new Error(`never: ${what}`);
}

describe('from the program', () => {
  test('evaluate now: figures arrive, are told and journalled; nothing of the run changes, early stopping is not asked', async () => {
    const weights: unknown[] = [];
    for (const look of [false, true]) {
      const t = make({ earlyStopping: { patience: 2 }, plateau: { patience: 1 }, metrics: ['accuracy'] });
      const run = t.start({ train: loader(), validation: loader(), epochs: 3 });
      const seen: number[] = [];
      let figures: Promise<unknown>[] = [];
      for await (const e of run) {
        if (e.type === 'eval') seen.push(e.step);
        if (look && e.type === 'step' && (e.step === 2 || e.step === 8)) figures = [...figures, run.control.evaluate()];
      }
      for (const f of await Promise.all(figures)) expect(f).toMatchObject({ samples: 96, accuracy: expect.any(Number) });
      expect(seen.filter((s) => s % 6 === 0)).toEqual([6, 12, 18]);
      expect(seen).toHaveLength(look ? 5 : 3);
      const { best, stopReason } = await run.result;
      weights.push([best, stopReason, [...(await valuesOf(t.options.model.stateDict()))]]);
    }
    expect(weights[1]).toEqual(weights[0]);
  });

  test('checkpoint now: arrives when it is on the disk, whole, at its step', async () => {
    const dir = temporary();
    const run = make({ dir, checkpoint: { keep: { last: 10 } } }).start({ train: loader(), epochs: 2 });
    let asked: ReturnType<typeof run.control.checkpoint> | undefined;
    const first = run.control.checkpoint();
    for await (const e of run) if (e.type === 'step' && e.step === 2) asked = run.control.checkpoint();
    expect((await first).step).toBe(0); // before the first step, too
    const checkpoint = (await asked) as Awaited<typeof first>;
    expect(existsSync(join(checkpoint.path, 'weights.safetensors'))).toBe(true);
    expect(checkpoint.step % 6).not.toBe(0);
    await run.result;
    expect(await records(dir, 'control')).toMatchObject([
      { step: 0 },
      { what: 'checkpoint', by: 'program', step: checkpoint.step },
    ]);
  });

  test('stop after the epoch: its evaluation and checkpoint are made, and a resume goes on as if nobody had asked', async () => {
    const dir = temporary();
    const run = make({ dir }).start({ train: loader(), validation: loader(), epochs: 4 });
    const asked = run.control.stopAfterEpoch();
    const { stopReason, steps, epochs } = await run.result;
    await asked;
    expect({ stopReason, steps, epochs }).toEqual({ stopReason: 'stopped', steps: 6, epochs: 1 });
    expect(await records(dir, 'eval')).toHaveLength(1);
    const t = make({ dir });
    expect(await t.fit({ train: loader(), validation: loader(), epochs: 4, resume: 'auto' })).toMatchObject({ steps: 24 });
    const undisturbed = make();
    await undisturbed.fit({ train: loader(), validation: loader(), epochs: 4 });
    expect([...(await valuesOf(t.options.model.stateDict()))]).toEqual([
      ...(await valuesOf(undisturbed.options.model.stateDict())),
    ]);
  });

  test('what cannot be is refused in words, and journalled', async () => {
    const seen: unknown[] = [];
    const run = make().start({ train: loader(), epochs: 1 });
    const wishes = [run.control.evaluate(), run.control.checkpoint()];
    const answers = Promise.allSettled(wishes);
    for await (const e of run) if (e.type === 'control') seen.push(e);
    expect((await answers).map((a) => String((a as PromiseRejectedResult).reason))).toEqual([
      'ConfigError: control.evaluate: the run has no validation data',
      'ConfigError: control.checkpoint: the Trainer has no dir to write to',
    ]);
    expect(seen).toMatchObject([
      { what: 'evaluate', by: 'program', refused: 'the run has no validation data' },
      { what: 'checkpoint', refused: 'the Trainer has no dir to write to' },
    ]);
    await run.result;
    await expect(run.control.stopAfterEpoch()).rejects.toThrow(/control.stopAfterEpoch: the run has ended/);
  });

  test('an evaluation that fails is the run’s failure, and the asker’s', async () => {
    const broken = {
      ...loader(),
      length: 6,
      samples: 96,
      async *epoch() {
        yield* [];
        throw new Error('no such disk');
      },
    };
    const run = make().start({ train: loader(), validation: broken as never, epochs: 1 });
    const asked = run.control.evaluate();
    asked.catch(() => {});
    await expect(run.result).rejects.toThrow();
    await expect(asked).rejects.toThrow();
  });
});

describe('through the folder', () => {
  /** A run that goes on until `end`, in this process; steps yield to timers. */
  const start = (options: Partial<TrainerOptions> = {}) => {
    const dir = options.dir ?? temporary();
    const trainer = make({ dir, hooks: [{ name: 'slow', onStep: () => delay(1) }], ...options });
    const run = trainer.start({
      train: loader(),
      validation: loader(),
      epochs: 10_000,
      ...(options.dir ? { resume: 'auto' } : {}),
    });
    const end = async () => {
      trainer.stop();
      return run.result;
    };
    onTestFinished(() => end().then(() => {}));
    return { dir, run, end, listening: () => until(async () => (await lifeOf(dir)) === 'listening') };
  };

  test('all four wishes in one request: each answered with its step, journalled with who asked', async () => {
    const { dir, run, listening } = start({ schedule: schedule.constant() });
    await listening();
    const request = { lr: 0.002, evaluate: true, checkpoint: true, stopAfterEpoch: true } as const;
    const answer = (await askRun(dir, request, { by: 'test' })) as { results: ControlResult[] };
    expect(answer.results.map((r) => r.what)).toEqual(['lr', 'evaluate', 'checkpoint', 'stopAfterEpoch']);
    const [step] = new Set(answer.results.map((r) => r.step));
    expect(answer.results.every((r) => r.refused === undefined && r.step === step)).toBe(true);
    expect(answer.results[1]?.metrics).toMatchObject({ 'val/loss': expect.any(Number) });
    expect(existsSync(join(answer.results[2]?.path as string, 'manifest.json'))).toBe(true);
    expect(await run.result).toMatchObject({ stopReason: 'stopped' });
    expect(await records(dir, 'control')).toMatchObject([
      { what: 'lr', lr: 0.002, by: 'test', step },
      { what: 'evaluate', by: 'test' },
      { what: 'checkpoint', by: 'test' },
      { what: 'stopAfterEpoch', by: 'test' },
    ]);
    const steps = await records(dir, 'step');
    expect(steps.find((r) => r.step === (step as number))?.lr).toBeCloseTo(0.01, 14);
    expect(steps.find((r) => r.step === (step as number) + 1)?.lr).toBeCloseTo(0.002, 14);
    expect(readdirSync(join(dir, 'control'))).toEqual([]); // nothing is left lying about
    await expect(askRun(dir, { evaluate: true })).rejects.toThrow(/no run is under way here/);
  });

  test('hostile content is refused with a sentence, obeyed by nobody, and hurts nothing', async () => {
    const { dir, end, listening } = start();
    const secret = join(temporary(), 'secret');
    writeFileSync(secret, '{"lr":1}');
    await listening();
    const put = (name: string, text: string | Uint8Array) => writeFileSync(join(dir, 'control', name), text);
    const rows: [string, string, RegExp][] = [
      ['huge', `{"lr":1,"by":"${'x'.repeat(9000)}"}`, /it has 9\d+ bytes; 4096 are the most/],
      ['words', 'lr = 1', /it is not JSON/],
      ['empty', '', /it is not JSON/],
      ['null', 'null', /it is no object/],
      ['list', '[{"lr":1}]', /it is no object/],
      ['text', '{"lr":"1"}', /lr must be a number >= 0, got "1"/],
      ['minus', '{"lr":-1}', /lr must be a number >= 0/],
      ['huge-number', '{"lr":1e999}', /lr must be a number >= 0/],
      ['half', '{"lr":0.1', /it is not JSON/],
      ['false', '{"evaluate":false}', /evaluate must be true, got boolean false/],
      ['nothing', '{}', /it asks for nothing/],
      ['misspelled', '{"stopafterepoch":true}', /did you mean stopAfterEpoch/],
      ['proto', '{"__proto__":{"lr":1}}', /__proto__/],
      ['who', '{"lr":1,"by":7}', /by must be a string/],
      ['deep', '['.repeat(4000), /it is not JSON/],
    ];
    for (const [name, text] of rows) put(`${name}.request.json`, text);
    put('bytes.request.json', new Uint8Array([0xff, 0xfe, 0x00, 0x7b]));
    symlinkSync(secret, join(dir, 'control', 'link.request.json'));
    linkSync(secret, join(dir, 'control', 'second.request.json'));
    mkdirSync(join(dir, 'control', 'folder.request.json'));
    const told = async () => (await records(dir, 'notice')).map((r) => r.message as string);
    await until(async () => (await told()).length >= rows.length + 4);
    await end();
    const sentences = await told();
    for (const [name, , why] of rows)
      expect(sentences.find((s) => s.startsWith(`control request ${name}.request.json: `))).toMatch(why);
    const of = (name: string) => sentences.filter((s) => s.includes(` ${name}.request.json: `));
    expect(of('link')).toEqual([expect.stringMatching(/symbolic link/)]);
    expect(of('second')).toEqual([expect.stringMatching(/second name/)]);
    expect(of('folder')).toEqual([expect.stringMatching(/cannot be taken away/)]); // told once, not at each look
    expect(of('bytes')).toEqual([expect.stringMatching(/not JSON/)]);
    expect(await records(dir, 'control')).toEqual([]);
    expect(readFileSync(secret, 'utf8')).toBe('{"lr":1}');
    expect(readdirSync(join(dir, 'control'))).toContain('words.answer.json');
  });

  test('garbage of all kinds, hundreds of files: the run trains on, the journal stays short, and a right request is answered', async () => {
    const { dir, end, listening } = start();
    await listening();
    let seed = 12345;
    const random = (n: number) => {
      seed = (seed * 48271) % 2147483647;
      return seed % n;
    };
    const pieces = [
      '{',
      '}',
      '"lr"',
      ':',
      '1',
      'true',
      '"evaluate"',
      ',',
      '[',
      'null',
      '\u0000',
      '"',
      '\\u',
      '1e9',
      '-',
      '"by"',
      '\n',
    ];
    for (let i = 0; i < 300; i++) {
      const text = Array.from({ length: random(12) }, () => pieces[random(pieces.length)]).join('');
      writeFileSync(join(dir, 'control', `f${i}.request.json`), text);
    }
    const answer = await askRun(dir, { lr: 0.5 }, { timeout: 30_000 });
    expect(answer).toMatchObject({ results: [{ what: 'lr' }] });
    await end();
    const { damaged } = await monitor.readHistory(join(dir, 'metrics.jsonl'));
    expect(damaged).toEqual([]);
    expect((await records(dir, 'notice')).length).toBeLessThanOrEqual(101);
    for (const r of await records(dir, 'control')) expect(r.lr === undefined || (r.lr as number) >= 0).toBe(true);
  });

  test('a control folder that is a link leads nowhere: control is off, and the run says so', async () => {
    const [dir, elsewhere] = [temporary(), temporary()];
    symlinkSync(elsewhere, join(dir, 'control'));
    await make({ dir }).fit({ train: loader(), epochs: 1 });
    expect((await records(dir, 'notice')).map((r) => r.message)).toEqual([
      expect.stringMatching(/live control is off: .*symbolic link/),
    ]);
    expect(readdirSync(elsewhere)).toEqual([]);
  });

  test('what waits there when a run begins was asked of another one', async () => {
    const dir = temporary();
    mkdirSync(join(dir, 'control'));
    writeFileSync(join(dir, 'control', 'old.request.json'), '{"lr":0.5}');
    await make({ dir }).fit({ train: loader(), epochs: 1 });
    expect((await records(dir, 'notice')).map((r) => r.message)).toEqual([
      'control request old.request.json: it was asked before this attempt of the run began',
    ]);
    expect((await records(dir, 'step')).every((r) => r.lr === 0.01)).toBe(true);
  });

  test('a request that nobody takes is taken back', async () => {
    const dir = temporary();
    mkdirSync(join(dir, 'control'));
    const { hostname } = await import('node:os');
    writeFileSync(join(dir, 'control', 'run.json'), JSON.stringify({ pid: process.pid, host: hostname(), attempt: 1 }));
    await expect(askRun(dir, { evaluate: true }, { timeout: 100 })).rejects.toThrow(/did not take the request within 0.1 s/);
    expect(readdirSync(join(dir, 'control'))).toEqual(['run.json']);
    await expect(askRun(dir, { lr: -1 })).rejects.toThrow(/lr must be a number >= 0/);
  });
});

describe('anneal control, with a training in another process', { timeout: 60_000 }, () => {
  const child = fileURLToPath(new URL('live-control-child.ts', import.meta.url));
  interface Training {
    process: ChildProcess;
    last: { step?: number; lr?: number; done?: { stopReason: string } };
    exit: Promise<unknown>;
  }
  async function begin(dir: string): Promise<Training> {
    const process_ = spawn(process.execPath, ['--import', 'tsx', child, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => void process_.kill('SIGKILL'));
    const training: Training = { process: process_, last: {}, exit: new Promise((resolve) => process_.on('close', resolve)) };
    createInterface({ input: process_.stdout as never }).on('line', (line) => {
      training.last = JSON.parse(line);
    });
    await until(() => (training.last.step ?? 0) >= 5);
    return training;
  }
  /** What the command prints, and its status. */
  async function command(dir: string, options: object): Promise<{ status: number; printed: string }> {
    const { log } = console;
    const lines: string[] = [];
    console.log = (line: string) => lines.push(line);
    try {
      return { status: await controlCommand(dir, options), printed: lines.join('\n') };
    } finally {
      console.log = log;
    }
  }

  test('the rate, an evaluation, the end; killed and resumed the rate holds, and what was asked meanwhile does not', async () => {
    const dir = temporary();
    const first = await begin(dir);
    const { status, printed } = await command(dir, { lr: '5e-3', evaluate: true, checkpoint: true });
    expect(status).toBe(0);
    expect(printed).toMatch(
      /^lr 0.005: applied at step \d+\nevaluate: applied at step \d+: .*val\/loss [\d.]+.*\ncheckpoint: applied at step \d+: .*checkpoints.*$/,
    );
    await until(() => first.last.lr === 0.005);

    first.process.kill('SIGKILL');
    await first.exit;
    expect(await lifeOf(dir)).toBe('killed');
    await expect(command(dir, { lr: '1' })).rejects.toThrow(/the run was killed: its process is gone/);
    writeFileSync(join(dir, 'control', 'stale.request.json'), '{"lr":1}');

    const second = await begin(dir);
    expect(second.last.lr).toBeCloseTo(0.005, 14);
    const end = await command(dir, { stopAfterEpoch: true, json: true });
    expect(JSON.parse(end.printed)).toMatchObject({ results: [{ what: 'stopAfterEpoch' }] });
    await second.exit;
    expect(second.last.done).toMatchObject({ stopReason: 'stopped' });
    expect((await records(dir, 'step')).some((r) => r.lr === 1)).toBe(false);
    expect(await lifeOf(dir)).toBe('over');
  });

  test('what was typed wrong is said before anything is asked', async () => {
    const dir = temporary();
    for (const [options, why] of [
      [{}, /say what to change: --lr/],
      [{ lr: 'fast' }, /--lr must be a number >= 0, such as 1e-4, got "fast"/],
      [{ lr: '' }, /--lr must be a number/],
      [{ lr: '1', timeout: '0' }, /--timeout must be seconds above 0/],
      [{ evaluate: true }, /is no run's folder: it has no metrics.jsonl/],
    ] as const)
      await expect(command(dir, options)).rejects.toThrow(why);
    expect(describeResult({ what: 'evaluate', step: 3, refused: 'no data' })).toBe('evaluate: refused at step 3: no data');
  });
});

describe('logger and channels', () => {
  test('a logger hears of the run at pino’s levels, and nothing else is printed', async () => {
    const heard: [string, string][] = [];
    const to = (level: string) => (_: object, message: string) => void heard.push([level, message]);
    const logger: Logger = { debug: to('debug'), info: to('info'), warn: to('warn'), error: to('error') };
    const dir = temporary();
    const t = make({ dir, logger });
    const run = t.start({ train: loader(), validation: loader(), epochs: 1 });
    await run.control.set({ lr: 0.005 });
    await run.result;
    expect(heard.filter(([level]) => level === 'debug')).toHaveLength(6);
    const rest = heard.filter(([level]) => level !== 'debug').map(([level, text]) => `${level}: ${text.replace(dir, 'DIR')}`);
    expect(rest[0]).toBe('info: the run begins');
    expect(rest[1]).toMatch(/^info: control at step \d: lr 0.005, asked by program$/);
    expect(rest).toContainEqual(expect.stringMatching(/^info: evaluated at step 6: loss [\d.]+/));
    expect(rest).toContainEqual(expect.stringMatching(/^info: checkpoint of step 6: DIR/));
    expect(rest).toContain('info: the run ended at step 6: finished');
    const failing = make({ logger, loss: () => { throw new Error('mine'); } }); // biome-ignore format: one line
    await expect(failing.fit({ train: loader(), epochs: 1 })).rejects.toThrow('mine');
    expect(heard.at(-1)).toEqual(['error', 'the run failed at step 0: Error: mine']);
  });

  test('subscribers of a channel get its events with the run they are of; others cost nothing', async () => {
    const dir = temporary();
    const heard: Record<string, Record<string, unknown>[]> = {};
    for (const name of ['run', 'step', 'eval', 'checkpoint', 'control']) {
      heard[name] = [];
      const listener = (message: unknown) => void heard[name]?.push(message as Record<string, unknown>);
      subscribe(`anneal:${name}`, listener);
      onTestFinished(() => void unsubscribe(`anneal:${name}`, listener));
    }
    const run = make({ dir }).start({ train: loader(), validation: loader(), epochs: 1 });
    await run.control.set({ lr: 0.005 });
    await run.result;
    expect(heard.run?.map((m) => m.type)).toEqual(['begin', 'end']);
    expect(heard.step?.map((m) => m.step)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(heard.step?.[0]).toMatchObject({ dir, attempt: 1, loss: expect.any(Number) });
    expect(heard.eval).toMatchObject([{ step: 6, improved: false }]);
    expect(heard.control).toMatchObject([{ what: 'lr', lr: 0.005 }]);
    expect(heard.checkpoint).toMatchObject([{ step: 6 }]);
  });

  test('what is no logger is refused', () => {
    expect(() => make({ logger: { info() {} } as never })).toThrow(ConfigError);
    expect(() => make({ logger: { info() {} } as never })).toThrow(
      /logger must have debug, info, warn, error as pino's has.*no debug\(\)/,
    );
  });
});
