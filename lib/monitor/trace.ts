// A profile as Chrome's Trace Event Format (complete events and metadata), which chrome://tracing and Perfetto read.
import type { ProfiledCall } from './profile.ts';

/** Times in microseconds after the profile's start. */
export interface TraceEvent {
  name: string;
  /** 'X': a complete event; 'M': metadata. */
  ph: 'X' | 'M';
  pid: number;
  tid: number;
  cat?: string;
  ts?: number;
  dur?: number;
  args?: Record<string, unknown>;
}
export interface ChromeTrace {
  traceEvents: TraceEvent[];
  displayTimeUnit: 'ms';
  otherData: Record<string, string>;
}

const threads = { JavaScript: 1, compute: 2, copy: 3, comm: 4 } as const;
const microseconds = (ms: number): number => Math.round(ms * 1e6) / 1e3;

function named(what: 'process_name' | 'thread_name', tid: number, name: string): TraceEvent {
  return { name: what, ph: 'M', pid: 1, tid, args: { name } };
}

function argsOf(call: ProfiledCall): Record<string, unknown> {
  const args: Record<string, unknown> = {};
  if (call.shapes.length) args.inputs = call.shapes.map((s) => `[${s.join(', ')}]`).join(' ');
  if (call.bytes) args.bytes = call.bytes;
  if (call.macs) args.macs = call.macs;
  if (call.macs && call.ms > 0) args.gflops = Math.round((2 * call.macs) / call.ms / 1e4) / 100;
  return args;
}

/** One track for what JavaScript queues, one for each stream that ran anything. */
export function chromeTrace(calls: readonly ProfiledCall[], about: { title: string; ms: number }): ChromeTrace {
  const events: TraceEvent[] = [named('process_name', 0, 'anneal'), named('thread_name', threads.JavaScript, 'JavaScript')];
  for (const stream of ['compute', 'copy', 'comm'] as const)
    if (calls.some((c) => c.stream === stream)) events.push(named('thread_name', threads[stream], `${stream} stream`));
  const event = (name: string, cat: string, tid: number, begin: number, ms: number, args: Record<string, unknown>) =>
    events.push({ name, cat, ph: 'X', pid: 1, tid, ts: microseconds(begin), dur: microseconds(Math.max(0, ms)), args });
  for (const c of calls) {
    event(c.op, c.kind, threads[c.stream], c.begin, c.ms, argsOf(c));
    if (c.queued) event(`queue ${c.op}`, 'queue', threads.JavaScript, c.queued.begin, c.queued.ms, {});
  }
  return { traceEvents: events, displayTimeUnit: 'ms', otherData: { title: about.title } };
}
