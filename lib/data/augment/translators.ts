// Translators: a local Apertium, and transformers.js.
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, checkFunction, checkOptions, checkText, DataError, describe } from '../../native/errors.ts';
import { importPackage } from '../packages.ts';
import { checkWhole } from './check.ts';

/** Whatever turns texts of one language into another's. */
export interface Translator {
  /** Tells translators, languages and models apart: a cache keeps texts under it. */
  readonly name: string;
  /** One translation for each text, in order. */
  translate(texts: readonly string[]): Promise<readonly string[]>;
}

/** Options of `apertium`. */
export interface ApertiumOptions {
  /** Apertium's codes of the languages, such as 'eng' and 'spa'. */
  from: string;
  to: string;
  /** The program. Default 'apertium', looked up in PATH. */
  command?: string;
  /** The longest time for one text, in milliseconds. Default 60,000. */
  timeoutMs?: number;
}

function problem(mode: string, command: string, cause: NodeJS.ErrnoException | undefined, stderr: string): string {
  if (cause?.code === 'ENOENT') {
    return (
      `augment.apertium: the program "${command}" is not there. Install Apertium and the languages' data ` +
      `(on Debian: apt-get install apertium apertium-${mode}, or the pair's other order), or give its path: { command }.`
    );
  }
  if (/mode .* does not exist/i.test(stderr)) {
    return (
      `augment.apertium: there is no mode ${mode}. Install its data (on Debian the package apertium-${mode}, or the pair's other order). ` +
      `The program says: ${stderr.trim().slice(0, 300)}`
    );
  }
  return `augment.apertium: ${command} ${mode} failed: ${(cause?.message ?? stderr.trim().slice(0, 300)) || 'it said nothing'}.`;
}

function runOne(command: string, mode: string, timeoutMs: number, file: string): Promise<string> {
  return new Promise((resolve, reject) => {
    // -u: no marks on words that it does not know. A file, since Apertium opens /dev/stdin anew, which Node's pipes (sockets) do not allow.
    const child = spawn(command, ['-u', mode, file], { stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs });
    let out = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      out += piece;
    });
    child.stderr.setEncoding('utf8').on('data', (piece: string) => {
      stderr = (stderr + piece).slice(0, 4096);
    });
    child.on('error', (cause) => reject(new DataError(problem(mode, command, cause, stderr), { cause })));
    child.on('close', (code, signal) => {
      // It ends with 0 and says nothing where a part of it failed.
      if (code === 0 && out.trim() !== '') return resolve(out.replace(/\r?\n$/, ''));
      const late = signal === 'SIGTERM' ? `, perhaps after timeoutMs (${timeoutMs})` : '';
      reject(new DataError(problem(mode, command, signal ? new Error(`ended by ${signal}${late}`) : undefined, stderr)));
    });
  });
}

/**
 * Translates by a local Apertium (Debian packages apertium and apertium-eng-spa), one process for each text, so that texts do not touch each other.
 * Throws DataError naming the package where the program or the pair of languages is missing.
 */
export function apertium(options: ApertiumOptions): Translator {
  const where = 'augment.apertium';
  checkOptions(where, options, ['from', 'to', 'command', 'timeoutMs']);
  const code = (name: 'from' | 'to') => {
    const value = checkText(where, name, options?.[name]);
    if (/^[a-zA-Z][\w@]*$/.test(value)) return value;
    throw new DataError(`${where}: ${name} must be a language code such as 'eng', got ${describe(value)}.`);
  };
  const mode = `${code('from')}-${code('to')}`;
  const command = checkText(where, 'command', options.command ?? 'apertium');
  const timeoutMs = checkWhole(where, 'timeoutMs', options.timeoutMs ?? 60_000, 1, 2 ** 31 - 1);
  const translate = async (texts: readonly string[]): Promise<string[]> => {
    const folder = await mkdtemp(join(tmpdir(), 'anneal-apertium-'));
    const file = join(folder, 'text');
    const out: string[] = [];
    try {
      for (const text of texts) {
        await writeFile(file, `${text}\n`);
        out.push(text.trim() === '' ? text : await runOne(command, mode, timeoutMs, file));
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    return out;
  };
  return { name: `apertium ${mode}`, translate };
}

/** What is used of a pipeline of transformers.js. */
export type TranslationPipeline = (texts: string[], options: Record<string, unknown>) => Promise<unknown>;

/** Options of `transformersJs`. */
export interface TransformersJsOptions {
  /** A model for task 'translation', by name or path. */
  model: string;
  /** Options of each call, such as { src_lang, tgt_lang, max_new_tokens }. Default {}. */
  call?: Readonly<Record<string, unknown>>;
  /** Makes the pipeline in place of importing @huggingface/transformers. */
  pipeline?: (model: string) => Promise<TranslationPipeline>;
}

async function imported(model: string): Promise<TranslationPipeline> {
  interface Library {
    pipeline(task: string, model: string): Promise<TranslationPipeline>;
  }
  const { pipeline } = await importPackage<Library>('augment.transformersJs', '@huggingface/transformers');
  return pipeline('translation', model);
}

/** Translates by a model of transformers.js, an optional package. Throws DataError naming it where it is missing; at the first text, not here. */
export function transformersJs(options: TransformersJsOptions): Translator {
  const where = 'augment.transformersJs';
  checkOptions(where, options, ['model', 'call', 'pipeline']);
  const model = checkText(where, 'model', options?.model);
  const { call = {}, pipeline = imported } = options;
  if (call === null || typeof call !== 'object' || ![Object.prototype, null].includes(Object.getPrototypeOf(call)))
    throw new ConfigError(`${where}: call must be an object such as { tgt_lang: 'spa_Latn' }, got ${describe(call)}.`);
  checkFunction(where, 'pipeline', pipeline, '(model) => pipeline("translation", model)');
  let made: Promise<TranslationPipeline> | undefined;
  const translate = async (texts: readonly string[]): Promise<string[]> => {
    made ??= pipeline(model);
    made.catch(() => {
      made = undefined; // installed meanwhile: the next text may try again
    });
    const out = await (await made)([...texts], call);
    if (!Array.isArray(out)) throw new DataError(`${where}: ${model} gave ${describe(out)}, not a list of { translation_text }.`);
    return out.map((o, i) => {
      const text: unknown = (Object(o) as { translation_text?: unknown }).translation_text;
      if (typeof text !== 'string')
        throw new DataError(`${where}: ${model} gave ${describe(text)} for text ${i}, not { translation_text }.`);
      return text;
    });
  };
  return { name: `transformers.js ${model} ${JSON.stringify(call)}`, translate };
}
