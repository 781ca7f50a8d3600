/** Runs as Prometheus scrapes them (text format 0.0.4). */
import type { LiveRun } from './live-run.ts';

type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

interface Family {
  name: string;
  help: string;
  samples: Sample[];
}

/** What every run records, by its name in the history. */
const figures: readonly (readonly [metric: string, name: string, help: string])[] = [
  ['loss', 'anneal_loss', 'Training loss of the last step.'],
  ['lr', 'anneal_learning_rate', 'Learning rate of the last step, first group.'],
  ['gradNorm', 'anneal_gradient_norm', 'Global gradient norm of the last step before clipping.'],
  ['samplesPerSecond', 'anneal_samples_per_second', 'Samples trained on per second of late.'],
  ['epoch', 'anneal_epoch', 'Epoch of the last record, from 0.'],
  ['lossScale', 'anneal_loss_scale', 'Loss scale of mixed precision.'],
  ['memory', 'anneal_tensor_memory_bytes', 'Bytes of live tensors.'],
  ['peakMemory', 'anneal_tensor_memory_peak_bytes', 'Largest number of bytes of live tensors.'],
];

const escapeLabel = (v: string): string => v.replace(/\\/g, '\\\\').replace(/\n/g, '\\n').replace(/"/g, '\\"');
const number = (v: number): string => (Number.isNaN(v) ? 'NaN' : v === Infinity ? '+Inf' : v === -Infinity ? '-Inf' : String(v));

function text({ name, help, samples }: Family): string {
  const lines = samples.map(([labels, value]) => {
    const inner = Object.entries(labels).map(([k, v]) => `${k}="${escapeLabel(v)}"`);
    return `${name}{${inner.join(',')}} ${number(value)}`;
  });
  return [`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, ...lines, ''].join('\n');
}

export const prometheusType = 'text/plain; version=0.0.4; charset=utf-8';

/** Families that no run has are left out. */
export function prometheus(runs: readonly LiveRun[]): string {
  const states = runs.map((run) => ({ run: run.id, history: run.history, state: run.state }));
  const each = (value: (s: (typeof states)[number]) => number | undefined): Sample[] =>
    states.flatMap((s) => {
      const v = value(s);
      return v === undefined ? [] : [[{ run: s.run }, v] as const];
    });
  const findings = states.flatMap(({ run, state }) =>
    ['error', 'warning', 'info'].map((severity) => {
      return [{ run, severity }, state.findings.filter((f) => f.severity === severity).length] as const;
    }),
  );
  const evals = states.flatMap(({ run, history }) =>
    history.names.filter((n) => n.startsWith('val/')).map((metric) => [{ run, metric }, history.last(metric) as number] as const),
  );
  const families: Family[] = [
    { name: 'anneal_run_up', help: 'Is the run under way?', samples: each((s) => +(s.state.life === 'listening')) },
    { name: 'anneal_step', help: 'Optimizer steps done.', samples: each((s) => s.state.step) },
    {
      name: 'anneal_total_steps',
      help: 'Optimizer steps of the whole run.',
      samples: each((s) => s.state.totalSteps ?? undefined),
    },
    { name: 'anneal_attempt', help: 'Starts of the run, resumes included.', samples: each((s) => s.state.attempt) },
    { name: 'anneal_skipped_steps', help: 'Steps that were skipped.', samples: each((s) => s.state.skipped) },
    ...figures.map(([metric, name, help]) => ({ name, help, samples: each((s) => s.history.last(metric)) })),
    { name: 'anneal_evaluation', help: 'Figures of the last evaluation.', samples: evals },
    { name: 'anneal_findings', help: 'What diagnosis found.', samples: findings },
  ];
  return families
    .filter((f) => f.samples.length > 0)
    .map(text)
    .join('');
}
