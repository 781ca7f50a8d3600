/** Changes a run that is under way, through its folder. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { askRun, type ControlRequest, type ControlResult } from '../monitor/control/index.ts';
import { formatNumber } from '../monitor/index.ts';
import { ConfigError } from '../native/errors.ts';

/** Options of the command, as they were typed. */
export interface ControlOptions {
  lr?: string;
  evaluate?: boolean;
  checkpoint?: boolean;
  stopAfterEpoch?: boolean;
  timeout?: string;
  json?: boolean;
}

/** A number as it was typed; an empty word is none. */
const numberOf = (text: string): number => (text.trim() === '' ? Number.NaN : Number(text));

function requestOf({ lr, evaluate, checkpoint, stopAfterEpoch }: ControlOptions): ControlRequest {
  const rate = lr === undefined ? undefined : numberOf(lr);
  if (rate !== undefined && !(rate >= 0 && rate < Number.POSITIVE_INFINITY))
    throw new ConfigError(`control: --lr must be a number >= 0, such as 1e-4, got ${JSON.stringify(lr)}`);
  const request: ControlRequest = {
    ...(rate === undefined ? {} : { lr: rate }),
    ...(evaluate ? { evaluate } : {}),
    ...(checkpoint ? { checkpoint } : {}),
    ...(stopAfterEpoch ? { stopAfterEpoch } : {}),
  };
  if (Object.keys(request).length === 0)
    throw new ConfigError('control: say what to change: --lr <rate>, --evaluate, --checkpoint, --stop-after-epoch');
  return request;
}

/** One line of the command's output. */
export function describeResult({ what, step, refused, metrics, path }: ControlResult, lr?: number): string {
  const name = what === 'lr' ? `lr ${lr}` : what === 'stopAfterEpoch' ? 'stop after this epoch' : what;
  if (refused !== undefined) return `${name}: refused at step ${step}: ${refused}`;
  const figures = Object.entries(metrics ?? {}).map(([metric, v]) => `${metric} ${formatNumber(v)}`);
  const more = path ?? figures.join(', ');
  return `${name}: applied at step ${step}${more === '' ? '' : `: ${more}`}`;
}

/** `anneal control`: 1 where something was refused. */
export async function control(run: string, options: ControlOptions): Promise<number> {
  const request = requestOf(options);
  const seconds = options.timeout === undefined ? 60 : numberOf(options.timeout);
  if (!(seconds > 0)) throw new ConfigError(`control: --timeout must be seconds above 0, got ${JSON.stringify(options.timeout)}`);
  const known = await stat(join(run, 'metrics.jsonl')).catch(() => undefined);
  if (!known) throw new ConfigError(`control: ${run} is no run's folder: it has no metrics.jsonl. Give the Trainer's dir.`);
  const answer = await askRun(run, request, { timeout: seconds * 1000 });
  if (options.json) console.log(JSON.stringify(answer));
  if ('refused' in answer) throw new ConfigError(`${run}: refused: ${answer.refused}`);
  if (!options.json) for (const result of answer.results) console.log(describeResult(result, request.lr));
  return answer.results.some((r) => r.refused !== undefined) ? 1 : 0;
}
